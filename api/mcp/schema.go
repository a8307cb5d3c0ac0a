package mcpapi

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"vaultmesh.org/vaultmesh"
)

// schemaTypes are the types whose JSON form is not their Go form.
var schemaTypes = map[reflect.Type]*jsonschema.Schema{
	reflect.TypeFor[json.RawMessage]():  {},
	reflect.TypeFor[object]():           {Type: "object"},
	reflect.TypeFor[vaultmesh.Digest](): {Type: "string", Description: `"sha256:" and 64 hexadecimal digits`},
}

// inputSchema is the schema of a tool's arguments, with all that [argument] bounds.
func inputSchema(t reflect.Type) (*jsonschema.Schema, error) {
	s, err := plainSchema(t)
	if err != nil {
		return nil, err
	}
	for _, a := range arguments(t) {
		p := s.Properties[a.name]
		if a.fallback != "" {
			p.Default = json.RawMessage(a.fallback)
		}
		bounded := p
		if a.most != 0 {
			switch a.kind {
			case reflect.Int:
				p.Minimum, p.Maximum = jsonschema.Ptr(float64(a.least)), jsonschema.Ptr(float64(a.most))
			case reflect.String:
				p.MinLength, p.MaxLength = jsonschema.Ptr(a.least), jsonschema.Ptr(a.most)
			case reflect.Slice:
				p.MinItems, p.MaxItems = jsonschema.Ptr(a.least), jsonschema.Ptr(a.most)
				bounded = p.Items
			}
		}
		if a.id != "" {
			bounded.Pattern = "^[A-Za-z0-9][A-Za-z0-9._:@-]*$"
			bounded.MaxLength = jsonschema.Ptr(vaultmesh.MaxID)
		}
		for _, e := range a.enum {
			p.Enum = append(p.Enum, e)
		}
	}
	return s, nil
}

// outputSchema is the schema of everything that a tool may answer: its own answer or a [failure].
func outputSchema(t reflect.Type) (*jsonschema.Schema, error) {
	s, err := plainSchema(t)
	if err != nil {
		return nil, err
	}
	f, err := plainSchema(reflect.TypeFor[failure]())
	if err != nil {
		return nil, err
	}
	f.Description = "where isError is set"
	return &jsonschema.Schema{Type: "object", AnyOf: []*jsonschema.Schema{s, f}}, nil
}

func plainSchema(t reflect.Type) (*jsonschema.Schema, error) {
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: schemaTypes})
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "mcp.schema", t.String(), "the type has no schema").Because(err)
	}
	neverNull(s)
	return s, nil
}

// neverNull removes null, which Go's inference adds to every list and pointer and which nothing here sends or takes.
func neverNull(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if i := slices.Index(s.Types, "null"); i >= 0 {
		s.Types = slices.Delete(slices.Clone(s.Types), i, i+1)
		if len(s.Types) == 1 {
			s.Type, s.Types = s.Types[0], nil
		}
	}
	for _, p := range s.Properties {
		neverNull(p)
	}
	neverNull(s.Items)
	neverNull(s.AdditionalProperties)
}
