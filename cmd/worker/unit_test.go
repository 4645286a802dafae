package main

import (
	"os"
	"regexp"
	"testing"

	"tributary/internal/base/cli"
)

// TestSystemdUnitsEnvironment: the worker takes the settings of deploy/systemd, those of the unit and those that it
// proposes.
func TestSystemdUnitsEnvironment(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/tributary-worker.service")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^(?:Environment=|# +)((?:TRIBUTARY|AWS)_[A-Z_]+)=(\S+)$`).FindAllStringSubmatch(string(unit), -1)
	if len(found) < 3 {
		t.Fatalf("settings are %q", found)
	}
	settings(t, "http://127.0.0.1:1")
	for _, setting := range found {
		t.Setenv(setting[1], setting[2])
	}
	if status, _, said := command(t, "run"); status != cli.StatusFailed { // for nothing is at that address
		t.Errorf("with the unit's settings the worker ends with status %d: %s", status, said)
	}
}

func TestMemoryLimitFollowsTheRole(t *testing.T) {
	for role, want := range map[string]int64{"consume": 2*64 + 32, "query": 32 + 128 + 32, "all": 2*64 + 32 + 128 + 32} {
		c := runCmd{Role: role, MaxInFlightBytes: 64 << 20}
		c.QueryMemory = 128 << 20
		if got := c.memoryLimit(); got != want<<20 {
			t.Errorf("%s: %d MiB, want %d", role, got>>20, want)
		}
	}
}
