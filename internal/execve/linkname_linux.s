// Empty: the compiler accepts a function without a body, as beforeExec, only in a package
// that has assembly.
