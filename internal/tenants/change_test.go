package tenants

import (
	"errors"
	"testing"
	"time"
)

func TestChanges(t *testing.T) {
	now := time.Date(2026, 1, 31, 15, 0, 0, 0, time.UTC)
	before := now.Add(-time.Hour)
	five, none := 5.0, 0.0
	base := Decision{Tenant: "acme", By: "bob", At: before}
	with := func(change func(*Decision)) Decision {
		d := base
		change(&d)
		return d
	}
	suspended := with(func(d *Decision) { d.Status, d.Letters, d.Reason, d.WriteUnits = Suspended, true, "unpaid", 7 })
	erasing := with(func(d *Decision) { d.Status, d.Erasure = Erasing, "e" })
	erased := with(func(d *Decision) { d.Status, d.Erasure, d.Expires = Erased, "e", now.Add(1) })
	over := with(func(d *Decision) { d.Status, d.Erasure, d.Expires = Erased, "e", now })
	by := func(d Decision) Decision { d.By, d.At = "ann", now; return d }
	suspend := func(d Decision) (Decision, error) {
		return Suspend(d, Suspension{NoReads: true, Reason: "abuse"}, "ann", now)
	}
	resume := func(d Decision) (Decision, error) { return Resume(d, false, "ann", now) }
	resumeErased := func(d Decision) (Decision, error) { return Resume(d, true, "ann", now) }
	limit := func(d Decision) (Decision, error) { return WithLimits(d, Limits{Requests: &five}, "ann", now) }
	unlimit := func(d Decision) (Decision, error) { return WithLimits(d, Limits{&none, &none, nil}, "ann", now) }

	for name, test := range map[string]struct {
		change func(Decision) (Decision, error)
		old    Decision
		want   Decision // By and At are set below; nothing where it is refused
	}{
		"suspend":                   {suspend, base, with(func(d *Decision) { d.Status, d.NoReads, d.Reason = Suspended, true, "abuse" })},
		"suspend otherwise":         {suspend, suspended, with(func(d *Decision) { d.Status, d.NoReads, d.Reason, d.WriteUnits = Suspended, true, "abuse", 7 })},
		"suspend while erasing":     {suspend, erasing, Decision{}},
		"suspend the erased":        {suspend, erased, Decision{}},
		"suspend after an erasure":  {suspend, over, with(func(d *Decision) { d.Status, d.NoReads, d.Reason = Suspended, true, "abuse" })},
		"resume":                    {resume, suspended, with(func(d *Decision) { d.WriteUnits = 7 })},
		"resume what is active":     {resume, base, base},
		"resume while erasing":      {resume, erasing, Decision{}},
		"resume the erased":         {resume, erased, Decision{}},
		"resume after erasure":      {resumeErased, erased, base},
		"resume after half of it":   {resumeErased, erasing, Decision{}},
		"resume after what is over": {resume, over, base},
		"limit":                     {limit, base, with(func(d *Decision) { d.Requests = 5 })},
		"limit the suspended": {limit, suspended, with(func(d *Decision) {
			d.Status, d.Letters, d.Reason, d.WriteUnits, d.Requests = Suspended, true, "unpaid", 7, 5
		})},
		"limit while erasing":        {limit, erasing, Decision{}},
		"no limit, and so no burst":  {unlimit, with(func(d *Decision) { d.WriteUnits, d.Burst = 7, 3 }), base},
		"no limit for the suspended": {unlimit, suspended, with(func(d *Decision) { d.Status, d.Letters, d.Reason = Suspended, true, "unpaid" })},
	} {
		got, err := test.change(test.old)
		if test.want.Tenant == "" {
			if refused, ok := errors.AsType[*ErasedError](err); !ok || refused.Problem == "" || got != test.old {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			continue
		}
		if want := by(test.want); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
}
