// Package rawjson reads and writes JSON as text, without building values: what is read are substrings of the text, so
// that numbers stay exact and the path of a command allocates nothing.
package rawjson

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested in a text, as in encoding/json.
const MaxDepth = 10_000

// Scanner reads a JSON text from its start to its end, one token at a time, by RFC 8259 to the letter.
//
//	for s.Open('{'); s.More('}'); {
//		switch s.Name() {
//		case "type":
//			kind = s.String()
//		default:
//			s.Skip()
//		}
//	}
//	if err := s.End(); err != nil { … }
//
// The first violation ends the scan: from then on Peek returns 0, More false, and the rest nothing, and Err says what
// was wrong. So loops like the one above end, and one check after them is enough.
type Scanner struct {
	text    string
	pos     int
	depth   int
	first   bool // just after Open
	notText bool // see NotText
	err     *SyntaxError
}

// SyntaxError says what is wrong with a text, and where.
type SyntaxError struct {
	Offset int // bytes from the start
	What   string
}

func (e *SyntaxError) Error() string {
	return e.What + " at byte " + strconv.Itoa(e.Offset)
}

// New returns a scanner at the start of text.
func New(text string) Scanner { return Scanner{text: text} }

// Err returns the first violation, or nil.
func (s *Scanner) Err() *SyntaxError { return s.err }

// Offset returns where in the text the scanner is, in bytes; after Peek that is where the next token starts.
func (s *Scanner) Offset() int { return s.pos }

// Since returns the text from an offset to where the scanner is.
func (s *Scanner) Since(offset int) string { return s.text[offset:s.pos] }

// NotText reports whether a string read or skipped since the last call was grammatical but no Unicode text: invalid
// UTF-8, or half a surrogate pair as an escape. The RFC leaves such strings to the reader; the scan goes on, because
// the texts around them are sound.
func (s *Scanner) NotText() bool {
	was := s.notText
	s.notText = false
	return was
}

// Peek skips white space and returns the next byte: '{', '[', '"', '-' or a digit, 't', 'f' or 'n' where a value starts.
// It returns 0 at the end of the text.
func (s *Scanner) Peek() byte {
	if s.err != nil {
		return 0
	}
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		case 0:
			s.fail("a zero byte")
			return 0
		default:
			return c
		}
	}
	return 0
}

// Open enters an object ('{') or an array ('[').
func (s *Scanner) Open(bracket byte) {
	if s.Peek() != bracket {
		s.unexpected("'" + string(bracket) + "'")
		return
	}
	s.pos++
	s.first = true
	if s.depth++; s.depth > MaxDepth {
		s.fail("nested more than " + strconv.Itoa(MaxDepth) + " deep")
	}
}

// More reports whether another member or element follows, and goes to it; at the closing bracket it leaves the object
// or array and returns false.
func (s *Scanner) More(bracket byte) bool {
	first := s.first
	s.first = false
	switch c := s.Peek(); {
	case c == bracket:
		s.pos++
		s.depth--
		return false
	case s.err != nil:
		return false
	case first && c != 0:
		return true
	case c == ',':
		s.pos++
		return true
	}
	s.unexpected("',' or '" + string(bracket) + "'")
	return false
}

// Name reads a member's name and the colon behind it.
func (s *Scanner) Name() string {
	name := s.String()
	if s.Peek() != ':' {
		s.unexpected("':'")
		return ""
	}
	s.pos++
	return name
}

// RawName is Name with the name's text as it stands, with quotes and escapes.
func (s *Scanner) RawName() string {
	token, _ := s.stringToken()
	if s.Peek() != ':' {
		s.unexpected("':'")
		return ""
	}
	s.pos++
	return token
}

// String reads a string. It is a substring of the text unless it has escapes.
func (s *Scanner) String() string {
	text, _ := s.unescaped()
	return text
}

// OwnString reads a string whose memory is not the text's.
func (s *Scanner) OwnString() string {
	text, own := s.unescaped()
	if !own {
		text = strings.Clone(text)
	}
	return text
}

// unescaped reads a string, and says whether its memory is its own.
func (s *Scanner) unescaped() (text string, own bool) {
	token, escaped := s.stringToken()
	if len(token) < 2 {
		return "", false
	}
	if token = token[1 : len(token)-1]; escaped {
		return unescape(token), true
	}
	return token, false
}

// Number reads a number and returns its text.
func (s *Scanner) Number() string {
	if c := s.Peek(); c != '-' && !isDigit(c) {
		s.unexpected("number")
		return ""
	}
	n := numberLen(s.text[s.pos:])
	if n == 0 {
		if strings.HasPrefix(s.text[s.pos:], "-Infinity") {
			s.unexpected("number")
		}
		s.fail("a malformed number")
		return ""
	}
	s.pos += n
	return s.text[s.pos-n : s.pos]
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	if s.Peek() == 't' {
		s.literal("true")
		return s.err == nil
	}
	s.literal("false")
	return false
}

// Null reads null.
func (s *Scanner) Null() { s.literal("null") }

// Skip reads one value of any kind and returns its text, as it stands.
func (s *Scanner) Skip() string {
	c := s.Peek()
	start := s.pos
	switch c {
	case '{':
		for s.Open('{'); s.More('}'); {
			s.RawName()
			s.Skip()
		}
	case '[':
		for s.Open('['); s.More(']'); {
			s.Skip()
		}
	case '"':
		s.stringToken()
	case 't', 'f':
		s.Bool()
	case 'n':
		s.Null()
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		s.Number()
	default:
		s.unexpected("value")
	}
	if s.err != nil {
		return ""
	}
	return s.text[start:s.pos]
}

// End demands that nothing but white space follows, and returns Err.
func (s *Scanner) End() *SyntaxError {
	if c := s.Peek(); s.err == nil && (c != 0 || s.pos < len(s.text)) {
		s.fail("more text behind the value")
	}
	return s.err
}

func (s *Scanner) fail(what string) {
	if s.err == nil {
		s.err = &SyntaxError{Offset: s.pos, What: what}
	}
}

func (s *Scanner) unexpected(wanted string) {
	if s.err == nil && s.pos >= len(s.text) {
		s.fail("the text ends where there should be " + wanted)
		return
	}
	// Some encoders write floats that JSON can't express so. "No value" would not tell what to look for.
	for _, word := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if s.err == nil && strings.HasPrefix(s.text[s.pos:], word) {
			s.fail(word + ", which is not a number in JSON,")
		}
	}
	s.fail("no " + wanted)
}

func (s *Scanner) literal(word string) {
	s.Peek()
	if s.err == nil && !strings.HasPrefix(s.text[s.pos:], word) {
		s.unexpected("value")
	}
	if s.err == nil {
		s.pos += len(word)
	}
}

// Classes of bytes within a string.
const (
	plain = iota
	wide  // of a rune beyond ASCII
	quote
	escape
	control
)

var class = func() (t [256]byte) {
	for i := range t {
		switch {
		case i < ' ':
			t[i] = control
		case i >= utf8.RuneSelf:
			t[i] = wide
		}
	}
	t['"'], t['\\'] = quote, escape
	return t
}()

// stringToken reads a string and returns it with its quotes, and whether there are escapes in it.
func (s *Scanner) stringToken() (token string, escaped bool) {
	if s.Peek() != '"' {
		s.unexpected("string")
		return "", false
	}
	start, beyondASCII := s.pos, false
	for i := s.pos + 1; i < len(s.text); i++ {
		switch class[s.text[i]] {
		case wide:
			beyondASCII = true
		case quote:
			s.pos = i + 1
			token = s.text[start:s.pos]
			if beyondASCII && !utf8.ValidString(token) {
				s.notText = true
			}
			return token, escaped
		case escape:
			escaped = true
			n := s.escapeLen(s.text[i:])
			if n == 0 {
				s.pos = i
				s.fail("a malformed escape")
				return "", false
			}
			i += n - 1
		case control:
			s.pos = i
			s.fail("a control character within a string")
			return "", false
		}
	}
	s.pos = len(s.text)
	s.fail("the text ends within a string")
	return "", false
}

// escapeLen returns the length of the escape that text starts with, 0 where it is none. A surrogate pair is one escape.
func (s *Scanner) escapeLen(text string) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		r, ok := hex4(text)
		switch {
		case !ok:
			return 0
		case !utf16.IsSurrogate(r):
			return 6
		}
		if low, ok := hex4(text[6:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			return 12
		}
		s.notText = true
		return 6
	}
	return 0
}

// hex4 reads the code unit of a \uXXXX that text starts with.
func hex4(text string) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(text[2:6]) {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape returns what a string with grammatical escapes means. Half a surrogate pair becomes U+FFFD.
func unescape(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for {
		i := strings.IndexByte(text, '\\')
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:i])
		text = text[i:]
		n := 2
		switch c := text[1]; c {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			n = 6
			r, _ := hex4(text)
			if utf16.IsSurrogate(r) {
				low, _ := hex4(text[6:])
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					n = 12
				}
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
		}
		text = text[n:]
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// numberLen returns the length of the JSON number that text starts with, 0 where it starts with none.
func numberLen(text string) int {
	i := 0
	digits := func() bool {
		start := i
		for i < len(text) && isDigit(text[i]) {
			i++
		}
		return i > start
	}
	if i < len(text) && text[i] == '-' {
		i++
	}
	if i < len(text) && text[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(text) && text[i] == '.' {
		if i++; !digits() {
			return 0
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

const hexDigits = "0123456789abcdef"

// AppendString appends s, which is valid UTF-8, as a JSON string. Control characters and U+FFFE and U+FFFF are escaped:
// SQS accepts them in no other form ("SendMessage").
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = AppendText(dst, s)
	return append(dst, '"')
}

// AppendText appends what stands between the quotes of AppendString.
func AppendText(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch class[c] {
		case plain:
			continue
		case wide:
			if c != 0xEF || i+2 >= len(s) || s[i+1] != 0xBF || s[i+2] < 0xBE {
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\uff`...)
			dst = append(dst, 'f', hexDigits[s[i+2]&0xF])
			i += 2
		case control:
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[c>>4], hexDigits[c&0xF])
		default:
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', c)
		}
		start = i + 1
	}
	return append(dst, s[start:]...)
}
