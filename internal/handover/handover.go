// Package handover carries what one image of a process tells the next image across the
// exec. It also rolls back a version that fails its trial.
//
// A version that has to be rolled back may hang before its main, in the initialisation of
// a package. Therefore this package has to be initialised before almost every other.
// Packages are initialised in the order of their paths, each after its imports. All
// imports of this package come before package os. Package strings would not.
//
// # Compatibility
//
// The previous image and the next one may contain different versions of this library.
// These rules hold for everything that crosses, also in internal/passing and package
// sockets. The files in the testdata folders show it, and tests compare.
//   - A key keeps its meaning for ever. Another meaning gets another key.
//   - A version passes over a key that it does not know, and a record of an unknown kind.
//     Everything else must make sense without them. The value of a new key contains no
//     comma: for a version that does not know the key, the value ends at the comma.
//   - A key may be left out only if every version that reads the key can do without it.
//   - If the format has a version that can't be read, that is reported and the state is
//     ignored: the next image starts with nothing, it does not fail.
//   - The State crosses in a carrier, except to versions from before carriers, see
//     [KnowsCarrier].
//   - A name in the manifest belongs to the program or to the library for ever: names of
//     a new kind of the library begin with a prefix that no name of a program has, see
//     passing.Name.
//   - A connection is lost if the receiver does not know its kind. No connection of such
//     a kind is made for that receiver, see [KnowsConnections]. In a rollback the
//     receiver is Previous.
//
// # Trust
//
// The variable is believed if it comes from a starter that has the rights of this
// process. A process with the rights of another user (set-user-ID, set-group-ID) believes
// nothing. A process that has its rights from file capabilities or a security module
// believes only an attested handover, see attest_linux.go.
package handover

import "errors"

// Env names the variable by which the next image finds its [State]. It is set for the exec
// alone and taken out of the environment before main runs, so that no child sees it.
const Env = "AUTORESTART_HANDOVER"

// State is what crosses the exec beside arguments, environment and files. The image
// that takes it owns its descriptors.
type State struct {
	Numbers [numNumbers][]int // most kinds have one at most
	Texts   [numTexts]string

	// InVariable has the State cross in the variable itself, see [State.pack]: the image
	// that receives it knows no other way.
	InVariable bool

	// Reserve, which may be nil, has what the exec may not be able to open any more.
	Reserve *Reserve

	// IsStandIn says that this process is a stand-in, and PID its main process. It is not in the
	// text form.
	IsStandIn bool

	// ForStandIn leaves connections out: they stay with the main process. It is not in the text
	// form.
	ForStandIn bool

	changes []change // made right before the exec; not in the text form

	// Expendable are those of the Files that are left out first where there is no room, the
	// first of them first. It is not in the text form.
	Expendable []int
}

// NumberKind says what a number in a [State] is.
type NumberKind int

// Numbers.
const (
	PID            NumberKind = iota
	Generation                // of the image that is executed; 0 is the first
	Signal                    // each is ignored until the new image subscribes to it or is ready
	ReadyWithin               // ms after its start, or Previous is executed again
	Missing                   // files and states that there was no room for
	Taint                     // 1: an image of this process was Secure, see [Tainted]
	Closed                    // idle connections that there was no room for
	Lines                     // of the log that were lost
	Connections               // 1: Previous knows all kinds of connections, see [KnowsConnections]; 2: it can have stand-ins, too
	OpenFiles                 // the soft RLIMIT_NOFILE that stays in force; none if the runtime may raise it
	IgnoredAtStart            // signals that the process was started with as ignored ones, as by nohup(1)
	StandInPID                // of each stand-in of this process
	Beside                    // 1: one of them serves
	HealthWithin              // ms after it is ready, in which Previous may be executed again

	Watch    // of inotify: a descriptor and a watch descriptor, in turns
	Inotify  // from here on, descriptors
	File     // what the program passes on; the names are in Manifest
	Manifest // of names and states
	Previous // the image that is known to work
	Dir      // the working directory to go back to
	Channel  // of a stand-in to its main process
	StandIns // pidfd and channel of each, in turns; StandIn has the rest
	Streams  // standard output and error, of a stand-in that serves
	Status   // the status page, see internal/status

	Executable // what is executed, where that is a descriptor
	Carrier    // the file that holds all others; only in the variable
	Attester   // a connection to the process that attests the State; likewise

	numNumbers
)

// TextKind says what a text in a [State] is.
type TextKind int

// Texts. They may contain anything.
const (
	Image        TextKind = iota // which file is executed, as the root package formats it
	Times                        // of this restart, see [FormatTimes]; [Execute] adds the last one
	Failed                       // which file was executed and rolled back
	Reason                       // why it was
	Path                         // of the executable, where the kernel can't tell
	Content                      // of the manifest, where there is no file for it
	Original                     // which file Previous is a copy of, as Image; none if it is no copy
	PreviousArgs                 // a list: the arguments of Previous, where those of this image are others
	PreviousEnv                  // likewise its environment
	Observed                     // for the observer of events in the next image, as the root package formats it; no comma
	StandIn                      // the stand-ins of this process, as internal/standin formats them; no comma

	numTexts
)

// Number returns the one number of its kind, or 0.
func (s *State) Number(kind NumberKind) int {
	if len(s.Numbers[kind]) == 0 {
		return 0
	}
	return s.Numbers[kind][0]
}

// Set makes n the one number of its kind.
func (s *State) Set(kind NumberKind, n int) { s.Numbers[kind] = []int{n} }

// What a State tells the next image of its trial.
var (
	trialNumbers = [...]NumberKind{ReadyWithin, HealthWithin, Connections, Previous, Dir}
	trialTexts   = [...]TextKind{Original, PreviousArgs, PreviousEnv}
)

// KeepTrial puts the image that gets s on the trial that kept tells of.
func (s *State) KeepTrial(kept *State) {
	s.InVariable = s.InVariable || kept.InVariable
	for _, kind := range trialNumbers {
		s.Numbers[kind] = kept.Numbers[kind]
	}
	for _, kind := range trialTexts {
		s.Texts[kind] = kept.Texts[kind]
	}
}

// ErrNotOnTrial says that there is no version to roll back to: none, or not any more.
var ErrNotOnTrial = errors.New("this version is not on trial")
