package statuspage

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A page consists of these parts. All of it is text, and the rest are NUL bytes:
//
//	0      header: name and number of the format; it never changes
//	256    16 requests of 64 bytes, see encodeRequest; the other processes write them
//	4096   two slots of 64 KiB, see encodeSlot; the daemon writes them in turns
//
// A record is in the slot that has the higher sequence number of those whose checksum is right. So a
// daemon that is killed while it writes a record leaves the record before it.
//
// A later release may add lines to a record, and words to requests and outcomes, which this one
// ignores. A page that this release can't read has another header.
const (
	header      = "autorestart status page, format 1\n"
	headerStart = "autorestart status page, format "
	headerSize  = 64

	requestsAt  = 256
	numRequests = 16
	requestSize = 64

	slotsAt  = 4096
	numSlots = 2
	slotSize = 64 << 10

	pageSize = slotsAt + numSlots*slotSize
)

// Limits of texts, in bytes. With them a record fits into a slot.
const (
	maxVersion = 200
	maxPath    = 4096
	maxFile    = 100
	maxWatch   = 100
	maxReason  = 1000
)

// checkHeader returns an error unless the page has this format.
func checkHeader(b []byte) error {
	text := string(b)
	if strings.HasPrefix(text, header) {
		return nil
	}
	rest, ok := strings.CutPrefix(text, headerStart)
	number, _, ended := strings.Cut(rest, "\n")
	if _, err := strconv.ParseUint(number, 10, 32); !ok || !ended || err != nil {
		return ErrDamaged
	}
	return &formatError{number}
}

// A formatError names the format of a page that can't be read.
type formatError struct{ number string }

func (e *formatError) Error() string {
	return ErrFormat.Error() + ": " + e.number + ", and not 1"
}

func (e *formatError) Is(target error) bool { return target == ErrFormat }

// A record is what a daemon writes: its status, and the requests that it knows.
type record struct {
	Status
	requests []entry
}

// An entry is a request that the daemon has taken.
type entry struct {
	id         string
	generation int     // of the version that has taken it
	outcome    Outcome // Kind is empty while the request is under way
}

// underway stands for the kind of an outcome that there is not yet.
const underway = "under-way"

// encode returns the text form of r: a line for each value, as "pid 12".
func (r *record) encode() string {
	var b strings.Builder
	line := func(fields ...string) { b.WriteString(strings.Join(fields, " ") + "\n") }
	line("pid", strconv.Itoa(r.PID))
	line("generation", strconv.Itoa(r.Generation))
	line("version", quote(r.Version, maxVersion))
	if r.File != "" {
		line("file", word(clean(r.File, maxFile)))
	}
	if !r.Started.IsZero() {
		line("started", encodeTime(r.Started))
	}
	if r.Path != "" {
		line("path", quotePath(r.Path))
	}
	if r.Watch != "" {
		line("watch", quote(r.Watch, maxWatch))
	}
	if r.Serves {
		line("serves", "true")
	}
	line("phase", word(string(r.Phase)))
	line("since", encodeTime(r.Since))
	line("trial", strconv.FormatBool(r.Trial))
	if r.Last.Kind != "" {
		line("last", r.Last.encode())
	}
	for _, e := range r.requests[:min(len(r.requests), numRequests)] {
		line("request", e.id, strconv.Itoa(e.generation), e.outcome.encode())
	}
	return b.String()
}

// encode returns the text form of o: KIND GENERATION TIME "VERSION" "REASON", and if the file is known,
// file=FILE, and perhaps retryable.
func (o Outcome) encode() string {
	if o.Kind == "" {
		return underway
	}
	fields := []string{word(string(o.Kind)), strconv.Itoa(o.Generation), encodeTime(o.At), quote(o.Version, maxVersion), quote(o.Reason, maxReason)}
	if o.File != "" {
		fields = append(fields, fileWord+word(clean(o.File, maxFile)))
	}
	if o.Retryable {
		fields = append(fields, retryableWord)
	}
	return strings.Join(fields, " ")
}

// Words at the end of an outcome.
const (
	fileWord      = "file="
	retryableWord = "retryable"
)

// parseRecord parses a text that encode has returned, also of another release.
func parseRecord(text string) (r record, err error) {
	p := &parser{}
	for line := range strings.Lines(text) {
		key, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		p.rest = rest
		switch key {
		case "pid":
			r.PID = p.number()
		case "generation":
			r.Generation = p.number()
		case "version":
			r.Version = p.quoted(maxVersion)
		case "file":
			r.File = p.words()
		case "started":
			r.Started = p.time()
		case "path":
			r.Path = p.path()
		case "watch":
			r.Watch = p.quoted(maxWatch)
		case "serves":
			r.Serves = p.field() == "true"
		case "phase":
			r.Phase = Phase(p.words())
		case "since":
			r.Since = p.time()
		case "trial":
			r.Trial = p.field() == "true"
		case "last":
			r.Last = p.outcome()
		case "request":
			e := entry{id: p.field(), generation: p.number(), outcome: p.outcome()}
			if p.failed = p.failed || !isID(e.id) || len(r.requests) == numRequests; !p.failed {
				r.requests = append(r.requests, e)
			}
		}
	}
	if p.failed || r.PID <= 0 || r.Phase == "" {
		return record{}, ErrDamaged
	}
	return r, nil
}

// A parser takes one field after the other from the beginning of a line.
type parser struct {
	rest   string
	failed bool
}

func (p *parser) field() (field string) {
	field, p.rest, _ = strings.Cut(p.rest, " ")
	return field
}

func (p *parser) words() string { return clean(strings.ReplaceAll(p.field(), "-", " "), maxVersion) }

func (p *parser) number() int {
	n, err := strconv.Atoi(p.field())
	p.failed = p.failed || err != nil || n < 0
	return n
}

func (p *parser) time() time.Time {
	n, err := strconv.ParseInt(p.field(), 10, 64)
	p.failed = p.failed || err != nil
	return time.Unix(0, n)
}

// path takes a path, which may contain any byte.
func (p *parser) path() string {
	text, err := strconv.Unquote(p.rest)
	p.failed = p.failed || err != nil
	return text
}

func (p *parser) quoted(limit int) string {
	prefix, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		p.failed = true
		return ""
	}
	p.rest = strings.TrimPrefix(p.rest[len(prefix):], " ")
	text, _ := strconv.Unquote(prefix) // QuotedPrefix has checked it
	return clean(text, limit)
}

func (p *parser) outcome() (o Outcome) {
	kind := p.words()
	if kind == strings.ReplaceAll(underway, "-", " ") {
		return Outcome{}
	}
	o.Kind, o.Generation, o.At = OutcomeKind(kind), p.number(), p.time()
	o.Version, o.Reason = p.quoted(maxVersion), p.quoted(maxReason)
	for p.rest != "" {
		field := p.words()
		if file, ok := strings.CutPrefix(field, fileWord); ok {
			o.File = file
		}
		o.Retryable = o.Retryable || field == retryableWord
	}
	p.failed = p.failed || kind == ""
	return o
}

// word returns a kind or a phase as one field.
func word(s string) string { return strings.ReplaceAll(s, " ", "-") }

func encodeTime(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// quotePath quotes a path, which is of use only as a whole: a longer one is left out.
func quotePath(path string) string {
	if len(path) > maxPath {
		path = ""
	}
	return strconv.Quote(path)
}

func quote(s string, limit int) string { return strconv.Quote(clean(s, limit)) }

// clean returns a text of one line that is at most limit bytes long, and that a terminal can
// show: an escape sequence in it would be executed there.
func clean(s string, limit int) string {
	const more = "…"
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-len(more)], "") + more
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?' // also of a byte that is no UTF-8: a longer text could exceed the limit
		case !strconv.IsPrint(r):
			return ' '
		}
		return r
	}, s)
}

// encodeSlot returns the content of a slot:
//
//	SEQUENCE LENGTH CHECKSUM
//	RECORD
//
// The numbers are hexadecimal, with leading zeros. The checksum is that of sequence and record.
func encodeSlot(sequence uint64, text string) []byte {
	s := hexadecimal(sequence, 16)
	return []byte(s + " " + hexadecimal(uint64(len(text)), 8) + " " + checksum(s, text) + "\n" + text)
}

// sizeOfSlot returns how long a slot is by its header, or 0 if it has none.
func sizeOfSlot(b []byte) int {
	if len(b) < slotHeader || b[16] != ' ' || b[25] != ' ' || b[34] != '\n' {
		return 0
	}
	length, err := strconv.ParseUint(string(b[17:25]), 16, 32)
	if err != nil || length > slotSize-slotHeader {
		return 0
	}
	return slotHeader + int(length)
}

const slotHeader = 16 + 1 + 8 + 1 + 8 + 1

// parseSlot returns what encodeSlot was given. It reports false for a slot that is being written,
// or was not written to its end, or never.
func parseSlot(b []byte) (sequence uint64, text string, ok bool) {
	size := sizeOfSlot(b)
	if size == 0 || size > len(b) {
		return 0, "", false
	}
	sequence, err := strconv.ParseUint(string(b[:16]), 16, 64)
	if err != nil {
		return 0, "", false
	}
	text = string(b[slotHeader:size])
	return sequence, text, checksum(string(b[:16]), text) == string(b[26:34])
}

// encodeRequest returns a request in its place: "restart ID CHECKSUM".
func encodeRequest(id string) []byte {
	b := make([]byte, requestSize)
	copy(b, restart+id+" "+checksum(restart, id)+"\n")
	return b
}

const restart = "restart "

// parseRequest returns the ID of a request for a restart. It returns none for anything else,
// including a request that is being written.
func parseRequest(b []byte) (id string, ok bool) {
	line, _, ok := strings.Cut(string(b), "\n")
	rest, isRestart := strings.CutPrefix(line, restart)
	id, sum, _ := strings.Cut(rest, " ")
	return id, ok && isRestart && isID(id) && sum == checksum(restart, id)
}

// isID reports whether s is an ID of a request: 128 random bits.
func isID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

func checksum(parts ...string) string {
	return hexadecimal(uint64(crc32(strings.Join(parts, ""))), 8)
}

// crc32 is that of IEEE 802.3, by four bits at a time. Importing hash/crc32 would make each program larger.
func crc32(text string) uint32 {
	const polynomial = 0xedb88320
	var table [16]uint32
	for i := range table {
		c := uint32(i)
		for range 4 {
			c = c>>1 ^ polynomial&-(c&1)
		}
		table[i] = c
	}
	sum := ^uint32(0)
	for i := range len(text) {
		sum ^= uint32(text[i])
		sum = sum>>4 ^ table[sum&15]
		sum = sum>>4 ^ table[sum&15]
	}
	return ^sum
}

// hexadecimal returns n with at least the given number of digits.
func hexadecimal(n uint64, digits int) string {
	s := strconv.FormatUint(n, 16)
	return strings.Repeat("0", max(0, digits-len(s))) + s
}
