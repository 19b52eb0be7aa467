package handover

// A list of arguments or variables is a text in a [State]: a semicolon, and after each string
// another one. There is no comma in it, at which a version that does not know the key would end the
// value, and two characters stand for one of the special ones.

const special = "%,;" // each is written as a percent sign and its place here

// FormatList returns the text form of a list. That of an empty list is not empty.
func FormatList(list []string) string {
	b := []byte{';'}
	for _, s := range list {
		for i := range len(s) {
			if place := indexByte(special, s[i]); place >= 0 {
				b = append(b, '%', '0'+byte(place))
			} else {
				b = append(b, s[i])
			}
		}
		b = append(b, ';')
	}
	return string(b)
}

// parseList parses what FormatList returns. ok is false for any other text.
func parseList(text string) (list []string, ok bool) {
	if text == "" || text[0] != ';' {
		return nil, false
	}
	var s []byte
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == ';':
			list, s = append(list, string(s)), s[:0]
		case c != '%':
			s = append(s, c)
		case i+1 < len(text) && text[i+1] >= '0' && text[i+1] < '0'+byte(len(special)):
			i++
			s = append(s, special[text[i]-'0'])
		default:
			return nil, false
		}
	}
	return list, text[len(text)-1] == ';'
}

func indexByte(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}
