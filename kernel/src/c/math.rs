//! The few functions of the mathematical library that programs import; the work is done by the crate `libm`.

macro_rules! math {
    ($($name:ident($($argument:ident),*);)*) => {
        $(#[unsafe(no_mangle)]
        extern "C" fn $name($($argument: f64),*) -> f64 {
            libm::$name($($argument),*)
        })*
    };
}

math! {
    pow(base, exponent);
    exp(x);
    exp2(x);
    log(x);
    log2(x);
    log10(x);
    fmod(x, y);
    cbrt(x);
    hypot(x, y);
    sin(x);
    cos(x);
    tan(x);
    atan2(y, x);
    floor(x);
    ceil(x);
    round(x);
    trunc(x);
    rint(x);
    fma(x, y, z);
}
