package handover

// Notice tells whoever logs for this module what there is to say where no logger is
// at hand. The root package sets it.
var Notice = func(msg string, args ...any) {}

// Settled is called when what was handed over and nobody has asked for is gone.
var Settled func()

// TakeFile returns the file, or socket, that was passed under a name, for good: it
// crosses no exec any more, nor does it go back to the image before. The root
// package sets it when it knows the names.
var TakeFile func(name string) (fd int, ok bool)
