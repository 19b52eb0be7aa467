package handover

// Notice tells whoever logs for this module what there is to say where no logger is
// at hand. The root package sets it.
var Notice = func(msg string, args ...any) {}

// Settled is called when what was handed over and nobody has asked for is gone.
var Settled func()
