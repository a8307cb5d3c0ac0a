package mcpapi

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// The arguments of a tool are a struct of strings, integers, booleans, lists of strings and [object]. Its tags are the
// whole contract, from which both the schema and the checks are made:
//
//	json:"name,omitempty"   the name; omitempty makes it optional
//	jsonschema:"…"          what it is
//	default:"50"            the value where it is left out, as JSON
//	range:"1,200"           of an integer, both included
//	length:"1,128"          of a string in bytes, or of a list in entries
//	enum:"a,b"              the only strings
//	id:"twin"               an identifier by vaultmesh.CheckID, with its role
type argument struct {
	name, description string
	required          bool
	fallback          string
	least, most       int // of range or length; most 0: no bound
	enum              []string
	id                string
	field             int
	kind              reflect.Kind // of the value; Struct for an [object]
}

// object is a JSON object that is passed on as it is, in canonical form.
type object struct{ json.RawMessage }

func arguments(t reflect.Type) []argument {
	out := make([]argument, t.NumField())
	for i := range out {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		a := argument{name: name, description: f.Tag.Get("jsonschema"), required: opts != "omitempty", fallback: f.Tag.Get("default"),
			id: f.Tag.Get("id"), field: i, kind: f.Type.Kind()}
		bounds := f.Tag.Get("range") + f.Tag.Get("length")
		if low, high, ok := strings.Cut(bounds, ","); ok {
			a.least, _ = strconv.Atoi(low)
			a.most, _ = strconv.Atoi(high)
		}
		if e := f.Tag.Get("enum"); e != "" {
			a.enum = strings.Split(e, ",")
		}
		out[i] = a
	}
	return out
}

// decodeArgs reads the arguments of a call into the struct that v points to. It refuses what has no single meaning
// (duplicate names, invalid UTF-8, depth), unknown and missing names, null, and what is outside the documented range,
// and says what to send instead.
func decodeArgs(raw json.RawMessage, limit int, v any) error {
	const op = "arguments"
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	doc, err := receipt.Canonical(raw, receipt.Limits{Bytes: limit})
	if err != nil {
		return vaultmesh.Wrap(err, op, "")
	}
	var members map[string]json.RawMessage
	if doc[0] != '{' || json.Unmarshal(doc, &members) != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "", "they are no JSON object").WithFix("send an object with one member for each argument")
	}
	target := reflect.ValueOf(v).Elem()
	args := arguments(target.Type())
	for _, a := range args {
		value, given := members[a.name]
		delete(members, a.name)
		switch {
		case !given && a.required:
			return vaultmesh.Errorf(vaultmesh.Invalid, op, a.name, "it is missing").WithFix("send %s: %s", a.name, a.description)
		case !given && a.fallback == "":
			continue
		case !given:
			value = json.RawMessage(a.fallback)
		case string(value) == "null":
			return vaultmesh.Errorf(vaultmesh.Invalid, op, a.name, "it is null").WithFix("leave it out, or send %s", a.description)
		}
		if err := a.set(target.Field(a.field), value); err != nil {
			return err
		}
	}
	if len(members) > 0 {
		unknown := make([]string, 0, len(members))
		for name := range members {
			unknown = append(unknown, name)
		}
		slices.Sort(unknown)
		fix := "send no arguments"
		if len(args) > 0 {
			names := make([]string, len(args))
			for i, a := range args {
				names[i] = a.name
			}
			fix = "the arguments are " + strings.Join(names, ", ")
		}
		return vaultmesh.Errorf(vaultmesh.Invalid, op, "", "%s is not known", quoted(unknown[0])).WithFix("%s", fix)
	}
	return nil
}

func (a argument) set(field reflect.Value, value json.RawMessage) error {
	const op = "arguments"
	invalid := func(format string, args ...any) error {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, a.name, format, args...).WithFix("send %s", a.description)
	}
	if a.kind == reflect.Struct {
		if value[0] != '{' {
			return invalid("it is no JSON object")
		}
		field.Field(0).SetBytes(value)
		return nil
	}
	if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid("want %s, got %s", typeName(wrong.Type.Kind()), clip(wrong.Value, 40))
		}
		return invalid("it has the wrong form")
	}
	size, unit := 0, ""
	switch a.kind {
	case reflect.Int:
		size = int(field.Int())
	case reflect.String:
		size, unit = field.Len(), " bytes"
	case reflect.Slice:
		size, unit = field.Len(), " entries"
	}
	if a.most != 0 && (size < a.least || size > a.most) {
		return invalid("it is %d%s, want %d to %d", size, unit, a.least, a.most)
	}
	if a.enum != nil && !slices.Contains(a.enum, field.String()) {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, a.name, "%s is not known", quoted(field.String())).WithFix("send one of %s", strings.Join(a.enum, ", "))
	}
	if a.id == "" {
		return nil
	}
	values := []string{}
	if a.kind == reflect.Slice {
		for i := range field.Len() {
			values = append(values, field.Index(i).String())
		}
	} else if field.Len() > 0 {
		values = append(values, field.String())
	}
	for _, id := range values {
		if err := vaultmesh.CheckID(a.id, id); err != nil {
			return vaultmesh.Wrap(err, op, a.name)
		}
	}
	return nil
}

func typeName(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "an integer"
	case reflect.Slice:
		return "a list"
	default:
		return "a string"
	}
}
