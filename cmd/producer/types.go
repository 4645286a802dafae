package main

import (
	"errors"
	"fmt"
	"strings"

	"tributary/internal/base/cli"
	"tributary/internal/schema"
)

// readTypes reads the declaration that --types names. What is wrong with the file goes out as it is, a line for each problem, so that
// editors find the lines.
func readTypes(s *cli.Streams, file schema.File) (*schema.Set, error) {
	types, err := file.Read()
	if wrong, ok := errors.AsType[*schema.Error](err); ok {
		_, _ = fmt.Fprintln(s.Err, wrong)
		return nil, &cli.StatusError{Status: cli.StatusUsage}
	}
	if err != nil {
		return nil, cli.Usage("--types: %w", err)
	}
	return types, nil
}

// typeNamed returns the type that an argument names.
func typeNamed(types *schema.Set, name string) (*schema.Type, error) {
	if t := types.Type(name); t != nil {
		return t, nil
	}
	names := make([]string, len(types.Types))
	for i, t := range types.Types {
		names[i] = t.Name
	}
	return nil, cli.Usage("%q is not a type%s", name, otherwise(name, names, "types"))
}

// shownNames is how many names an error lists.
const shownNames = 12

// otherwise says what else a name may be meant for: the one that is nearly it, or all that there are.
func otherwise(name string, known []string, what string) string {
	if near := schema.Nearest(name, known); near != "" {
		return ", did you mean " + near + "?"
	}
	if len(known) == 0 {
		return ", there are no " + what
	}
	more := ""
	if len(known) > shownNames {
		more = fmt.Sprintf(" and %d more", len(known)-shownNames)
		known = known[:shownNames]
	}
	return ", the " + what + " are " + strings.Join(known, ", ") + more
}
