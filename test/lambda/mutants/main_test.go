package main

import (
	"testing"

	"tributary/test/support/plant"
)

// TestMutantsFit: the source has a place for each mutant. Whether the tests find them takes minutes; see the Makefile.
func TestMutantsFit(t *testing.T) {
	if err := plant.Fit("../../..", mutants); err != nil {
		t.Error(err)
	}
}
