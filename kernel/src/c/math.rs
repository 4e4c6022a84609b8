//! The mathematical library, as far as std's floats ask for it; the work is done by the crate `libm`.

use core::ffi::c_int;

macro_rules! math {
    ($type:ident: $($name:ident($($argument:ident),*);)*) => {
        $(#[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) -> $type {
            libm::$name($($argument),*)
        })*
    };
}

math! {
    f64:
    exp(x);
    exp2(x);
    expm1(x);
    log(x);
    log2(x);
    log10(x);
    log1p(x);
    cbrt(x);
    sin(x);
    cos(x);
    tan(x);
    asin(x);
    acos(x);
    atan(x);
    sinh(x);
    cosh(x);
    tanh(x);
    erf(x);
    erfc(x);
    tgamma(x);
    floor(x);
    ceil(x);
    round(x);
    rint(x);
    trunc(x);
    pow(x, y);
    fmod(x, y);
    hypot(x, y);
    atan2(x, y);
    fdim(x, y);
    fma(x, y, z);
}

math! {
    f32:
    expf(x);
    exp2f(x);
    expm1f(x);
    logf(x);
    log2f(x);
    log10f(x);
    log1pf(x);
    cbrtf(x);
    sinf(x);
    cosf(x);
    tanf(x);
    asinf(x);
    acosf(x);
    atanf(x);
    sinhf(x);
    coshf(x);
    tanhf(x);
    erff(x);
    erfcf(x);
    tgammaf(x);
    floorf(x);
    ceilf(x);
    roundf(x);
    rintf(x);
    truncf(x);
    powf(x, y);
    fmodf(x, y);
    hypotf(x, y);
    atan2f(x, y);
    fdimf(x, y);
    fmaf(x, y, z);
}

/// The logarithm of the gamma function, and the sign of that function.
#[unsafe(no_mangle)]
unsafe extern "C" fn lgamma_r(x: f64, sign: *mut c_int) -> f64 {
    let (value, found) = libm::lgamma_r(x);
    // SAFETY: C's contract for lgamma_r: a place for the sign.
    unsafe { sign.write(found) };
    value
}

/// See [`lgamma_r`].
#[unsafe(no_mangle)]
unsafe extern "C" fn lgammaf_r(x: f32, sign: *mut c_int) -> f32 {
    let (value, found) = libm::lgammaf_r(x);
    // SAFETY: C's contract for lgammaf_r: a place for the sign.
    unsafe { sign.write(found) };
    value
}
