package cli

import "testing"

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"67108864": 64 << 20, "64MiB": 64 << 20, "64MB": 64 << 20, "67108864B": 64 << 20, "1GiB512MiB": 3 << 29, "0": 0} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "many", "64Mi", "64 MiB", "0x40", "1e6", "-1", "-1MiB", "99999999999999999999"} {
		var got Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d, want an error", text, got)
		}
	}
	if text, err := Size(64 << 20).MarshalText(); err != nil || string(text) != "64MiB" {
		t.Errorf("64 MiB is shown as %s (%v)", text, err)
	}
}
