package deadletters

import (
	"bytes"
	"strings"
	"testing"
)

// Text from outside must not steer the terminal of an operator.
func TestLettersCannotSteerATerminal(t *testing.T) {
	evil := "a\x1b[2Jb\u202ec\r\u0085d"
	l := &Letter{ID: evil, Reason: evil, Detail: evil + "\nsecond line", TenantID: evil, Field: evil, Body: evil + "\n\t{}", GroupID: evil,
		Attributes: map[string]Attribute{evil: {Text: evil}}}
	summary := NewSummary(5)
	summary.Add(l)
	summary.Finish()
	var out bytes.Buffer
	if err := summary.Write(&out, "dlq", true, ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\r\u202e\u0085") {
		t.Errorf("%q", out.String())
	}
	if !strings.Contains(out.String(), "\n\t{}\n") {
		t.Errorf("the body's own lines are lost: %q", out.String())
	}
}

func TestALongListIsCutForPeople(t *testing.T) {
	summary := NewSummary(0)
	for i := range maxGroupsShown + 7 {
		summary.Add(&Letter{Reason: "malformed", TenantID: strings.Repeat("t", i+1)})
	}
	summary.Finish()
	var out bytes.Buffer
	if err := summary.Write(&out, "dlq", true, ""); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "and 7 more letters in 7 lines") {
		t.Errorf("%s", out.String())
	}
}
