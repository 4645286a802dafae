// Package status gives what /status shows one style: names in snake_case, durations in seconds under names that end with
// _seconds. It knows nothing of what it shows.
package status

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	jsonType     = reflect.TypeFor[json.Marshaler]()
	textType     = reflect.TypeFor[encoding.TextMarshaler]()
)

// Of returns a value for JSON. Names that a json tag gives are kept. Types that encode themselves do so.
func Of(v any) any { return of(reflect.ValueOf(v)) }

func of(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	if v.Type().Implements(jsonType) || v.Type().Implements(textType) {
		return v.Interface()
	}
	if v.Type() == durationType {
		return time.Duration(v.Int()).Seconds()
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return of(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		fields(out, v)
		return out
	case reflect.Map:
		if v.Type().Key().Kind() != reflect.String || v.IsNil() {
			return v.Interface()
		}
		out := make(map[string]any, v.Len())
		for i := v.MapRange(); i.Next(); {
			out[named(i.Key().String(), i.Value())] = of(i.Value())
		}
		return out
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && (v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8) {
			return v.Interface()
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = of(v.Index(i))
		}
		return out
	}
	return v.Interface()
}

// fields adds a struct's fields to out, those of embedded structs as its own.
func fields(out map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		if f.Anonymous && value.Kind() == reflect.Struct {
			fields(out, value)
			continue
		}
		if !f.IsExported() {
			continue
		}
		name, options, tagged := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" && !tagged:
			continue
		case name == "":
			name = snake(f.Name)
		}
		if strings.Contains(options, "omitempty") && value.IsZero() {
			continue
		}
		out[named(name, value)] = of(value)
	}
}

// named is the name of a value with its unit.
func named(name string, v reflect.Value) string {
	if v.IsValid() && v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.IsValid() && v.Type() == durationType && !strings.HasSuffix(name, "_seconds") {
		return name + "_seconds"
	}
	return name
}

// snake writes a Go name in snake_case: MaxInFlight is max_in_flight, TLSCert is tls_cert.
func snake(name string) string {
	runes := []rune(name)
	var b strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
