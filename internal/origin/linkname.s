// Empty: the compiler accepts a function without a body, as runtimeArgs, only in a package
// that has assembly.
