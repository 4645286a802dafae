package rawjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// build makes of a text what encoding/json would make of it with UseNumber.
func build(s *Scanner) any {
	switch s.Peek() {
	case '{':
		m := map[string]any{}
		for s.Open('{'); s.More('}'); {
			name := s.Name()
			m[name] = build(s)
		}
		return m
	case '[':
		l := []any{}
		for s.Open('['); s.More(']'); {
			l = append(l, build(s))
		}
		return l
	case '"':
		return s.String()
	case 't', 'f':
		return s.Bool()
	case 'n':
		s.Null()
		return nil
	}
	return json.Number(s.Number())
}

var texts = []string{
	`null`, `true`, `false`, `0`, `-0`, `12.50e+07`, `""`, `"a\"\\\/\b\f\n\r\tbé😀\u00e9\ud83d\ude00"`,
	` { "a" : [ 1 , { } , [ ] , "x" ] , "b" : null } `, `[[[[]]]]`, `{"a":1,"a":2}`, `{"":{"":""}}`, "\t[\r\n]",
	``, ` `, `{`, `[`, `]`, `}`, `"`, `"\`, `"\u12`, `"\x"`, `"\u12G4"`, "\"\n\"", "\"\x00\"", "\x00", `01`, `-`, `1.`, `.5`, `+1`, `1e`, `1e+`,
	`0x1`, `NaN`, `Infinity`, `nul`, `nulll`, `truefalse`, `[1,]`, `[,1]`, `[1 2]`, `[1;2]`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`,
	`{"a" 1}`, `{a:1}`, `{'a':1}`, `{1:1}`, `{"a":1 "b":2}`, `[}`, `{]`, `1 2`, `{} {}`, `[] x`, "\ufeff{}", "[1]\u00a0", `// x`,
	"\"\xff\"", `"\ud800"`, `"\ud800\u0041"`, `"\udc00\ud800"`, `"\ud800\ud83d\ude00"`,
}

// TestScannerAgreesWithEncodingJSON holds the scanner to encoding/json, text by text: what one accepts the other does, and
// they read the same.
func TestScannerAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range texts {
		agree(t, text)
	}
	for depth := MaxDepth - 1; depth <= MaxDepth+1; depth++ {
		agree(t, strings.Repeat("[", depth)+strings.Repeat("]", depth))
		agree(t, strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth))
	}
}

func agree(t *testing.T, text string) {
	t.Helper()
	want := json.Valid([]byte(text))
	skip := New(text)
	raw := skip.Skip()
	if err := skip.End(); (err == nil) != want {
		t.Fatalf("Skip of %.200q: %v, encoding/json says valid=%v", text, err, want)
	}
	s := New(text)
	got := build(&s)
	if err := s.End(); (err == nil) != want {
		t.Fatalf("reading %.200q: %v, encoding/json says valid=%v", text, err, want)
	}
	if !want {
		if s.Err().Offset > len(text) || s.Err().Error() == "" {
			t.Fatalf("reading %.200q: %v", text, s.Err())
		}
		return
	}
	if raw != strings.Trim(text, " \t\r\n") {
		t.Errorf("Skip of %.200q returned %.200q", text, raw)
	}
	if skip.NotText() != s.NotText() {
		t.Errorf("%.200q: Skip and String differ about NotText", text)
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	if utf8.ValidString(text) && !reflect.DeepEqual(got, value) {
		t.Errorf("%.200q reads as %.200v, encoding/json has %.200v", text, got, value)
	}
}

func FuzzScanner(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	f.Fuzz(agree)
}

func TestNotText(t *testing.T) {
	for text, want := range map[string]bool{
		`"plain é 😀 \ud83d\ude00"`: false,
		"\"\xff\"":                 true,
		"\"\xed\xa0\x80\"":         true, // a surrogate in UTF-8
		`"\ud800"`:                 true,
		`"\udc00"`:                 true,
		`"\ud800\ud800"`:           true,
		`{"\ud800":1}`:             true,
		`["\ud800x"]`:              true,
	} {
		s := New(text)
		s.Skip()
		if err := s.End(); err != nil {
			t.Errorf("%q: %v, but its grammar is sound", text, err)
		}
		if got := s.NotText(); got != want {
			t.Errorf("%q: NotText is %v", text, got)
		}
		if s.NotText() {
			t.Errorf("%q: NotText is not cleared by asking", text)
		}
	}
}

// TestErrorEndsTheScan: a loop over an object must end after an error, whatever it calls.
func TestErrorEndsTheScan(t *testing.T) {
	s := New(`{"a":x,"b":1}`)
	members := 0
	for s.Open('{'); s.More('}'); members++ {
		s.Name()
		s.Skip()
	}
	if members != 1 || s.Peek() != 0 || s.String() != "" || s.Number() != "" || s.Bool() || s.Skip() != "" {
		t.Errorf("the scan went on after the error (%d members)", members)
	}
	if err := s.End(); err == nil || err.Offset != 5 || err.Error() != "no value at byte 5" {
		t.Errorf("error is %v", err)
	}
}

func TestStringsAreSubstrings(t *testing.T) {
	text := `{"name":"a value of some length, é"}`
	if n := testing.AllocsPerRun(100, func() {
		s := New(text)
		for s.Open('{'); s.More('}'); {
			s.Name()
			_ = s.String()
		}
		if s.End() != nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x1f\"\\/\n\u007f", "é😀", "a\ufffeb\uffffc\ufffd\uffbf", "\uffff", "<>&\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		quoted := AppendString([]byte("x"), text)[1:]
		var std string
		if err := json.Unmarshal(quoted, &std); err != nil || std != text {
			t.Errorf("%q became %s, which encoding/json reads as %q (%v)", text, quoted, std, err)
		}
		s := New(string(quoted))
		if own := s.String(); s.End() != nil || own != text {
			t.Errorf("%q became %s, which reads as %q (%v)", text, quoted, own, s.Err())
		}
		// "SendMessage": #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF
		if i := bytes.IndexFunc(quoted, func(r rune) bool { return r < ' ' || r == 0xFFFE || r == 0xFFFF }); i >= 0 {
			t.Errorf("%q became %s, which SQS refuses", text, quoted)
		}
	})
}
