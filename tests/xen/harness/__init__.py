"""A real Xen host on a machine without virtualisation: QEMU emulates the machine, Xen and a Debian first domain run in
it, `xl` starts guests. `pieces` makes what does not change once, `host` runs the machine, `guest` is one domain on it,
`dns` asks questions. Standard library only."""
