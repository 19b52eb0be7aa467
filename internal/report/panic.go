package report

// PanicText returns what a panic with the value v says.
func PanicText(v any) (text string) {
	defer func() { // a nil pointer in an error, as a rule
		if recover() != nil {
			text = "with a value that can't be printed"
		}
	}()
	switch v := v.(type) {
	case error:
		return v.Error()
	case string:
		return v
	case interface{ String() string }:
		return v.String()
	default:
		return "with a value that is no text"
	}
}
