// Empty: the compiler accepts a function without a body, as getAuxv, only in a package
// that has assembly.
