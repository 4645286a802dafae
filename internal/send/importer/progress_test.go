package importer

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewLines(&out)
		l.Start("folder/f.csv", 1000)
		for second := range int64(11) {
			l.Update(100*second, Counts{Rows: 5000 + 1000*second, Rejected: second})
			time.Sleep(time.Second)
		}
		l.Stop()
		want := "f.csv: 10,000 rows (50 %), 1,000 rows/s, 5 rejected\nf.csv: 15,000 rows (100 %), 1,000 rows/s, 10 rejected\n"
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestBarEnds(t *testing.T) {
	for _, size := range []int64{-1, 0, 100} {
		for _, read := range []int64{0, 50, 100} {
			var out bytes.Buffer
			b := NewBar(&out)
			b.Start("f.csv", size)
			b.Update(read, Counts{Rows: read})
			b.Stop() // must return, wherever the bar is
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -999: "-999", 1234567: "1,234,567"} {
		if got := Thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if strings.Contains(shownName("-"), "-") {
		t.Error("standard input has no name")
	}
}
