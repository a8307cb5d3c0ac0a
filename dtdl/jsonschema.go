package dtdl

import (
	"encoding/json"
	"strconv"
)

// JSONSchema writes the schema as a JSON Schema document (draft 2020-12). A value is valid under it where
// [Schema.Validate] accepts it, with two differences that JSON Schema cannot express: 1.0 counts as an integer
// there, and whether a date exists or a geometry is closed is checked only by "format" where that is asserted.
func (s *Schema) JSONSchema() json.RawMessage {
	x := newExport(s.id)
	return x.document(x.schema(s))
}

// JSONSchema writes the interface as one JSON Schema document (draft 2020-12). The document itself describes a
// state of a whole twin, as [Interface.Validate] does. Under "$defs" are the reusable schemas and the
// interfaces of components by identifier, and by these names what belongs to single contents:
//
//	property/NAME, telemetry/NAME, command/NAME/request, command/NAME/response, relationship/NAME
//
// so that "#/$defs/telemetry~1power" is the schema of a telemetry "power". What [Schema.JSONSchema] says of
// differences holds here too.
func (i *Interface) JSONSchema() json.RawMessage {
	x := newExport(i.id)
	x.twins[i] = true
	state := x.twin(i)
	for _, c := range i.order {
		x.content(c)
	}
	return x.document(state)
}

// export collects the definitions of one document.
type export struct {
	id    string
	defs  map[string]any
	twins map[*Interface]bool
}

func newExport(id string) *export {
	return &export{id: id, defs: make(map[string]any), twins: make(map[*Interface]bool)}
}

// jsonObject is a JSON object; encoding/json writes it in the order of its keys.
type jsonObject = map[string]any

func (x *export) document(body jsonObject) json.RawMessage {
	doc := jsonObject{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": x.id}
	for k, v := range body {
		doc[k] = v
	}
	if len(x.defs) > 0 {
		doc["$defs"] = x.defs
	}
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil { // strings, numbers and maps of them only
		return nil
	}
	return data
}

// described adds the texts of an element.
func described(o jsonObject, e *Element) jsonObject {
	if t := e.displayName.String(); t != "" {
		o["title"] = t
	}
	if t := e.description.String(); t != "" {
		o["description"] = t
	}
	if e.comment != "" {
		o["$comment"] = e.comment
	}
	return o
}

func (x *export) content(c Content) {
	switch c := c.(type) {
	case *Property:
		o := described(x.schema(c.schema), &c.Element)
		if !c.writable {
			o["readOnly"] = true
		}
		x.defs["property/"+c.name] = o
	case *Telemetry:
		x.defs["telemetry/"+c.name] = described(x.schema(c.schema), &c.Element)
	case *Command:
		x.payload("command/"+c.name+"/request", c.request)
		x.payload("command/"+c.name+"/response", c.response)
	case *Relationship:
		props := make(jsonObject, len(c.properties))
		for _, p := range c.properties {
			props[p.name] = described(x.schema(p.schema), &p.Element)
		}
		x.defs["relationship/"+c.name] = described(state(props, nil), &c.Element)
	}
}

func (x *export) payload(name string, p *Payload) {
	if p == nil {
		return
	}
	o := described(x.schema(p.schema), &p.Element)
	if p.nullable {
		o = jsonObject{"anyOf": []any{o, jsonObject{"type": "null"}}}
	}
	x.defs[name] = o
}

// state is an object of named values, with members of metadata beside them.
func state(props jsonObject, require []string) jsonObject {
	o := jsonObject{"type": "object", "properties": props, "patternProperties": jsonObject{`^\$`: true}, "additionalProperties": false}
	if len(require) > 0 {
		o["required"] = require
	}
	return o
}

func (x *export) twin(i *Interface) jsonObject {
	props := make(jsonObject)
	for _, c := range i.order {
		switch c := c.(type) {
		case *Property:
			props[c.name] = x.schema(c.schema)
		case *Telemetry:
			props[c.name] = x.schema(c.schema)
		case *Component:
			props[c.name] = x.component(c.schema)
		}
	}
	return described(state(props, i.require), &i.Element)
}

// component refers to the state of a twin of another interface.
func (x *export) component(i *Interface) any {
	if i == nil { // missing from a partial set
		return false
	}
	if i.id == x.id {
		return jsonObject{"$ref": "#"}
	}
	if !x.twins[i] {
		x.twins[i] = true
		x.defs[i.id] = x.twin(i)
	}
	return jsonObject{"$ref": "#/$defs/" + i.id}
}

// schema writes a schema. One with an identifier of its own is a definition, so that it may contain itself.
func (x *export) schema(s *Schema) jsonObject {
	if !s.kind.Complex() || s.assigned {
		return x.body(s)
	}
	if _, ok := x.defs[s.id]; !ok {
		x.defs[s.id] = nil
		x.defs[s.id] = x.body(s)
	}
	return jsonObject{"$ref": "#/$defs/" + s.id}
}

func (x *export) body(s *Schema) jsonObject {
	return described(x.kind(s), &s.Element)
}

func (x *export) kind(s *Schema) jsonObject {
	switch s.kind {
	case Array:
		return jsonObject{"type": "array", "items": x.schema(s.elem)}
	case Map:
		return jsonObject{"type": "object", "additionalProperties": x.schema(s.elem)}
	case Object, ScaledDecimal:
		props := make(jsonObject, len(s.fields))
		var require []string
		for i := range s.fields {
			f := &s.fields[i]
			props[f.name] = described(x.schema(f.schema), &f.Element)
			if f.required {
				require = append(require, f.name)
			}
		}
		o := jsonObject{"type": "object", "properties": props, "additionalProperties": false}
		if require != nil {
			o["required"] = require
		}
		return o
	case Enum:
		values := make([]any, len(s.values))
		for i := range s.values {
			if s.integer {
				values[i] = s.values[i].integer
			} else {
				values[i] = s.values[i].text
			}
		}
		if len(values) == 0 {
			return jsonObject{"not": jsonObject{}}
		}
		return jsonObject{"enum": values}
	case 0: // missing from a partial set
		return jsonObject{"not": jsonObject{}}
	}
	if s.kind.Geospatial() {
		return geometrySchema(s.kind)
	}
	return primitiveSchema(s.kind)
}

func primitiveSchema(k SchemaKind) jsonObject {
	text := func(pattern, format string) jsonObject {
		o := jsonObject{"type": "string"}
		if pattern != "" {
			o["pattern"] = pattern
		}
		if format != "" {
			o["format"] = format
		}
		return o
	}
	const date, clock = `\d{4}-\d{2}-\d{2}`, `\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})`
	switch k {
	case Boolean:
		return jsonObject{"type": "boolean"}
	case Double:
		return jsonObject{"type": "number", "minimum": json.Number("-1.7976931348623157e308"), "maximum": json.Number("1.7976931348623157e308")}
	case Float:
		return jsonObject{"type": "number", "minimum": json.Number("-3.4028235e38"), "maximum": json.Number("3.4028235e38")}
	case Bytes:
		o := text(`^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`, "")
		o["contentEncoding"] = "base64"
		return o
	case Date:
		return text("^"+date+"$", "date")
	case DateTime:
		return text("^"+date+"T"+clock+"$", "date-time")
	case Time:
		return text("^"+clock+"$", "time")
	case Decimal:
		return text(`^[+-]?([1-9]\d*|0)(\.\d*)?$`, "")
	case Duration:
		return durationSchema()
	case UUID:
		return text(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`, "uuid")
	case String:
		return jsonObject{"type": "string"}
	}
	limit := spans[k]
	low := "0"
	if limit.negative > 0 {
		low = "-" + strconv.FormatUint(limit.negative, 10)
	}
	return jsonObject{"type": "integer", "minimum": json.Number(low), "maximum": json.Number(strconv.FormatUint(limit.positive, 10))}
}

// durationSchema is without "format", which knows no fractions but of seconds and no weeks beside days.
func durationSchema() jsonObject {
	const last = `(\.\d+)?`
	part := func(letter string) string { return `(\d+` + letter + `)?` }
	// a fraction is allowed in the last part only: one pattern for each part that may be the last
	days := []string{"Y", "M", "W", "D"}
	times := []string{"H", "M", "S"}
	var patterns []any
	add := func(p string) { patterns = append(patterns, jsonObject{"pattern": "^P" + p + "$"}) }
	before := func(n int, weeks bool) string {
		out := ""
		for _, d := range days[:n] {
			if (d == "W") == weeks || d == "D" {
				out += part(d)
			}
		}
		return out
	}
	add(`\d+` + last + "Y")
	add(before(1, false) + `\d+` + last + "M")
	add(`\d+` + last + "W")
	for _, weeks := range []bool{false, true} {
		add(before(3, weeks) + `\d+` + last + "D")
		all := before(4, weeks)
		for i, t := range times {
			p := all + "T"
			for _, earlier := range times[:i] {
				p += part(earlier)
			}
			add(p + `\d+` + last + t)
		}
	}
	return jsonObject{"type": "string", "anyOf": patterns}
}

func geometrySchema(k SchemaKind) jsonObject {
	array := func(items jsonObject, least int) jsonObject {
		o := jsonObject{"type": "array", "items": items}
		if least > 0 {
			o["minItems"] = least
		}
		return o
	}
	position := array(jsonObject{"type": "number"}, 2)
	position["maxItems"] = 3
	ring := array(position, 4)
	coordinates := position
	switch k {
	case MultiPoint:
		coordinates = array(position, 0)
	case LineString:
		coordinates = array(position, 2)
	case MultiLineString:
		coordinates = array(array(position, 2), 0)
	case Polygon:
		coordinates = array(ring, 0)
	case MultiPolygon:
		coordinates = array(array(ring, 0), 0)
	}
	return jsonObject{"type": "object", "properties": jsonObject{"type": jsonObject{"const": geometryNames[k]}, "coordinates": coordinates},
		"required": []string{"type", "coordinates"}, "additionalProperties": false}
}
