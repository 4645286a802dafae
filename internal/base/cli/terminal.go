package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Printable turns text from outside into one line of at max max characters. It replaces control characters, which could steer a
// terminal.
func Printable(text string, max int) string {
	runes := []rune(strings.Map(Harmless, strings.NewReplacer("\n", " ", "\t", " ").Replace(text)))
	if len(runes) > max {
		runes = append(runes[:max-1], '…')
	}
	return string(runes)
}

// Harmless replaces a character that can't be printed.
func Harmless(r rune) rune {
	if !unicode.IsPrint(r) {
		return unicode.ReplacementChar
	}
	return r
}

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(r io.Reader) bool {
	file, ok := r.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Confirmed reads a line and reports whether it says yes. It returns false when ctx ends first, because a read from a terminal can't
// be interrupted.
func Confirmed(ctx context.Context, r io.Reader) bool {
	line := make(chan string, 1) // the reader may outlive the question, and the program ends then
	go func() {
		text, _ := bufio.NewReader(r).ReadString('\n') // no answer is no
		line <- strings.TrimSpace(text)
	}()
	select {
	case <-ctx.Done():
		return false
	case text := <-line:
		return strings.EqualFold(text, "yes")
	}
}
