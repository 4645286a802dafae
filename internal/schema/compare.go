package schema

import (
	"fmt"
	"slices"
	"strings"

	"tributary/internal/base/decimal"
)

// Change is one difference between two declarations.
type Change struct {
	Name string // of the type, or of type and field ("order.user_id")
	What string // "maxLength is 100, it was 50"
	// Compatible says that commands for the old declaration are still accepted, and that items written with it read the same.
	Compatible bool
	Why        string
}

func (c Change) String() string {
	verdict := "compatible"
	if !c.Compatible {
		verdict = "NOT COMPATIBLE"
	}
	return fmt.Sprintf("%s: %s: %s: %s", verdict, c.Name, c.What, c.Why)
}

// Compare returns what differs in meaning from old to new, in the order of the declarations: first what is gone or changed,
// then what is new. Descriptions and orders have no meaning.
//
// A change is compatible where every command that is valid by old is accepted by new and means the same, every item that old
// wrote reads the same by new, and routes and indexes stay. Commands that only new knows are dead-lettered by workers that
// still have old: workers are upgraded before producers.
func Compare(old, new *Set) []Change {
	var c comparison
	for _, t := range old.Types {
		if now := new.Type(t.Name); now != nil {
			c.types(t, now)
		} else {
			c.add(t.Name, "the type is gone", false, "its commands would be dead-lettered, and its items could not be read")
		}
	}
	for _, t := range new.Types {
		if old.Type(t.Name) == nil {
			why := "nothing that exists is of this type"
			if len(t.References) > 0 {
				why += "; run worker setup --update first, which makes the index"
			}
			c.add(t.Name, "the type is new", true, why)
		}
	}
	return c.changes
}

// Compatible says whether all changes are.
func Compatible(changes []Change) bool {
	return !slices.ContainsFunc(changes, func(c Change) bool { return !c.Compatible })
}

type comparison struct{ changes []Change }

func (c *comparison) add(name, what string, compatible bool, why string) {
	c.changes = append(c.changes, Change{name, what, compatible, why})
}

func (c *comparison) types(old, new *Type) {
	if old.Plural != new.Plural {
		why := "its routes move"
		if len(old.References) > 0 {
			why += ", and its indexes get other names"
		}
		c.add(old.Name, fmt.Sprintf("plural is %s, it was %s", new.Plural, old.Plural), false, why)
	}
	for _, f := range old.Fields {
		if now := new.Field(f.Name); now != nil {
			c.fields(old.Name+"."+f.Name, f, now)
		} else {
			c.add(old.Name+"."+f.Name, "the field is gone", false, "commands that have it would be dead-lettered, and its values could not be read")
		}
	}
	for _, f := range new.Fields {
		if old.Field(f.Name) != nil {
			continue
		}
		name := old.Name + "." + f.Name
		switch {
		case f.HasDefault:
			c.add(name, "the field is new, with a default", true, "older commands and items without it have the default")
		case f.Required:
			c.add(name, "the field is new and required", false, "older commands don't have it; give it a default, or make it optional")
		case f.References != nil:
			c.add(name, "the field is new and optional", true, "older commands and items lack it; run worker setup --update first, which makes the index")
		default:
			c.add(name, "the field is new and optional", true, "older commands and items lack it")
		}
	}
}

func (c *comparison) fields(name string, old, new *Field) {
	if old.Type != new.Type {
		c.add(name, fmt.Sprintf("type is %s, it was %s", new.Type, old.Type), false, "values that are stored are of the other type, and answers would change")
		return
	}
	c.reference(name, old, new)
	c.presence(name, old, new)
	if len(old.Enum) > 0 {
		c.enum(name, old, new)
		return
	}
	if len(new.Enum) > 0 && (new.Type != Boolean || len(new.Enum) != 2) {
		c.add(name, "enum is new", false, "any value was allowed")
	}
	if old.Type == String {
		c.lengths(name, old, new)
		c.format(name, old, new)
	}
	if old.Type.numeric() {
		c.limit(name, "minimum", old.Minimum, new.Minimum, 1)
		c.limit(name, "maximum", old.Maximum, new.Maximum, -1)
	}
}

func (c *comparison) reference(name string, old, new *Field) {
	was, is := "", ""
	if old.References != nil {
		was = old.References.Name
	}
	if new.References != nil {
		is = new.References.Name
	}
	switch {
	case was == is:
	case is == "":
		c.add(name, "it no longer references "+was, false, "the route and the index go")
	case was == "":
		c.add(name, "it references "+is+" now", false, "its values must be ids, and any text was allowed")
	default:
		c.add(name, "it references "+is+", it was "+was, false, "the route and the index change")
	}
}

// presence compares what holds where the field is absent.
func (c *comparison) presence(name string, old, new *Field) {
	switch {
	case !old.HasDefault && new.HasDefault && !old.Required:
		c.add(name, "default is new", true, "older commands and items without the field have it")
	case !old.HasDefault && new.HasDefault:
		c.add(name, "default is new", true, "the field may be left out now")
	case old.HasDefault && !new.HasDefault && new.Required:
		c.add(name, "the default is gone, and the field is required", false, "older commands may leave it out")
		return
	case old.HasDefault && !new.HasDefault:
		c.add(name, "the default is gone", false, "items and commands without the field had it")
		return
	case old.HasDefault && !sameValue(old.Type, old.Default, new.Default):
		c.add(name, fmt.Sprintf("default is %s, it was %s", cut(new.Default), cut(old.Default)), false, "items without the field would read otherwise")
	}
	switch {
	case old.Required && !new.Required && !old.HasDefault && !new.HasDefault:
		c.add(name, "the field is optional, it was required", true, "readers must expect that it is absent")
	case !old.Required && new.Required && !new.HasDefault:
		c.add(name, "the field is required, it was optional", false, "older commands may leave it out; give it a default")
	case old.Required != new.Required:
		c.add(name, fmt.Sprintf("required is %v, it was %v", new.Required, old.Required), true, "it has a default")
	}
}

func sameValue(t FieldType, a, b string) bool { return t.plain(a) == t.plain(b) }

// enum compares a field that had an enum: all that matters is which of its values the field can still have.
func (c *comparison) enum(name string, old, new *Field) {
	var gone []string
	for _, value := range old.Enum {
		if _, err := new.Check(value); err != nil {
			gone = append(gone, cut(old.literal(value)))
		}
	}
	if len(gone) > 0 {
		verb := " is"
		if len(gone) > 1 {
			verb = " are"
		}
		c.add(name, strings.Join(gone, ", ")+verb+" not allowed any more", false, "commands and items have it")
		return
	}
	if len(new.Enum) == 0 {
		c.add(name, "enum is gone", true, "every value that was allowed still is; readers must expect others")
		return
	}
	for _, value := range new.Enum {
		if !slices.ContainsFunc(old.Enum, func(was string) bool { return sameValue(old.Type, was, value) }) {
			c.add(name, "enum has more values", true, "every value that was allowed still is; readers must expect the new ones")
			return
		}
	}
}

func (c *comparison) lengths(name string, old, new *Field) {
	if old.MinLength != new.MinLength {
		c.wider(name, fmt.Sprintf("minLength is %d, it was %d", new.MinLength, old.MinLength), new.MinLength < old.MinLength)
	}
	show := func(n int) string {
		if n < 0 {
			return "gone"
		}
		return fmt.Sprint(n)
	}
	if old.MaxLength != new.MaxLength {
		what := fmt.Sprintf("maxLength is %s, it was %s", show(new.MaxLength), show(old.MaxLength))
		if old.MaxLength < 0 {
			what = "maxLength is new, " + show(new.MaxLength)
		}
		c.wider(name, what, new.MaxLength < 0 || old.MaxLength >= 0 && new.MaxLength > old.MaxLength)
	}
}

func (c *comparison) format(name string, old, new *Field) {
	switch {
	case old.Format == new.Format:
	case new.Format == NoFormat:
		c.wider(name, "format is gone, it was "+old.Format.String(), true)
	case old.Format == NoFormat:
		c.wider(name, "format is new, "+new.Format.String(), false)
	default:
		c.wider(name, fmt.Sprintf("format is %s, it was %s", new.Format, old.Format), false)
	}
}

// limit compares minimum (sign 1) or maximum (sign -1).
func (c *comparison) limit(name, word, old, new string, sign int) {
	switch {
	case old == new:
	case new == "":
		c.wider(name, word+" is gone, it was "+cut(old), true)
	case old == "":
		c.wider(name, word+" is new, "+cut(new), false)
	default:
		was, _ := decimal.Parse(old)
		is, _ := decimal.Parse(new)
		if order := sign * decimal.Compare(&is, &was); order != 0 {
			c.wider(name, fmt.Sprintf("%s is %s, it was %s", word, cut(new), cut(old)), order < 0)
		}
	}
}

func (c *comparison) wider(name, what string, wider bool) {
	if wider {
		c.add(name, what, true, "every value that was allowed still is")
	} else {
		c.add(name, what, false, "values that were allowed no longer are")
	}
}
