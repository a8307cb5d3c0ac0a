package diff

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh/dtdl"
)

func (c *comparison) schema(path string, old, now *dtdl.Schema) {
	if old == nil || now == nil {
		return
	}
	if old.Kind().Complex() && now.Kind().Complex() {
		// What has an identifier of its own is said once; and only through such a one can a schema contain itself.
		pair := schemaPair{old, now}
		if c.schemas[pair] {
			return
		}
		if !old.Assigned() || !now.Assigned() {
			c.schemas[pair] = true
		}
		if !old.Assigned() && !now.Assigned() && versionless(old.ID()) != versionless(now.ID()) {
			c.add(Noted, path, old.ID(), now.ID(), "it uses another named schema", nobody("where values differ it is said"))
		}
		c.texts(path, old, now)
	}
	if old.Kind() != now.Kind() {
		c.kinds(path, old, now)
		return
	}
	switch now.Kind() {
	case dtdl.Array:
		c.schema(join(path, "elementSchema"), old.Elem(), now.Elem())
	case dtdl.Map:
		c.schema(join(path, "mapKey"), old.MapKey().Schema(), now.MapKey().Schema())
		c.meaning(join(path, "mapValue"), old.MapValue(), now.MapValue())
		c.schema(join(path, "mapValue"), old.MapValue().Schema(), now.MapValue().Schema())
	case dtdl.Enum:
		c.enum(path, old, now)
	case dtdl.Object:
		c.fields(path, old, now)
	}
}

// kinds compares schemas of different kinds.
func (c *comparison) kinds(path string, old, now *dtdl.Schema) {
	was, is := schemaText(old), schemaText(now)
	what := was + " has become " + is
	switch {
	case holds(now, old):
		c.add(Widened, path, was, is, what, readers("values come that are no "+was))
	case holds(old, now):
		c.add(Narrowed, path, was, is, what, writers("values that are a "+was+" and no "+is+" are refused"))
	default:
		c.add(Changed, path, was, is, what, both("a "+was+" and a "+is+" are different values"))
	}
}

// span is a range of whole numbers, as floats: the bounds of DTDL's kinds are powers of two, less one.
type span struct{ least, most float64 }

var spans = map[dtdl.SchemaKind]span{
	dtdl.Byte: {math.MinInt8, math.MaxInt8}, dtdl.Short: {math.MinInt16, math.MaxInt16}, dtdl.Integer: {math.MinInt32, math.MaxInt32}, dtdl.Long: {math.MinInt64, math.MaxInt64},
	dtdl.UnsignedByte: {0, math.MaxUint8}, dtdl.UnsignedShort: {0, math.MaxUint16}, dtdl.UnsignedInteger: {0, math.MaxUint32}, dtdl.UnsignedLong: {0, math.MaxUint64},
}

// exact is the greatest whole number up to which a kind holds all: 2^24 of a float, 2^53 of a double (IEEE 754).
var exact = map[dtdl.SchemaKind]float64{dtdl.Float: 1 << 24, dtdl.Double: 1 << 53}

// holds reports whether every value of the narrow schema is one of the wide schema, which is of another kind.
func holds(wide, narrow *dtdl.Schema) bool {
	n, w := narrow.Kind(), wide.Kind()
	if n == dtdl.Enum {
		return w == narrow.EnumKind() || narrow.EnumKind() == dtdl.Integer && enumFits(wide, narrow)
	}
	if w == dtdl.String {
		switch n {
		case dtdl.Bytes, dtdl.Date, dtdl.DateTime, dtdl.Decimal, dtdl.Duration, dtdl.Time, dtdl.UUID:
			return true
		}
		return false
	}
	if w == dtdl.Double && n == dtdl.Float {
		return true
	}
	inner, whole := spans[n]
	if !whole {
		return false
	}
	if most, ok := exact[w]; ok {
		return -most <= inner.least && inner.most <= most
	}
	outer, ok := spans[w]
	return ok && outer.least <= inner.least && inner.most <= outer.most
}

func enumFits(wide, narrow *dtdl.Schema) bool {
	room, ok := spans[wide.Kind()]
	if most, real := exact[wide.Kind()]; real {
		room, ok = span{-most, most}, true
	}
	if !ok {
		return false
	}
	for _, v := range narrow.EnumValues() {
		if x := float64(v.Int()); x < room.least || x > room.most {
			return false
		}
	}
	return true
}

func (c *comparison) enum(path string, old, now *dtdl.Schema) {
	if old.EnumKind() != now.EnumKind() {
		c.add(Changed, join(path, "valueSchema"), old.EnumKind().String(), now.EnumKind().String(), "its values are of another kind", both("no old value is a new one"))
		return
	}
	values := func(s *dtdl.Schema) (list []string, byValue map[string]*dtdl.EnumValue, byName map[string]string) {
		byValue, byName = map[string]*dtdl.EnumValue{}, map[string]string{}
		for i, all := 0, s.EnumValues(); i < len(all); i++ {
			v := all[i].Text()
			if s.EnumKind() == dtdl.Integer {
				v = strconv.Itoa(int(all[i].Int()))
			}
			list, byValue[v], byName[all[i].Name()] = append(list, v), &all[i], v
		}
		return list, byValue, byName
	}
	before, olds, _ := values(old)
	after, news, names := values(now)
	for _, v := range before {
		is, ok := news[v]
		at := join(path, "enumValues/"+olds[v].Name())
		switch moved, named := names[olds[v].Name()]; {
		case ok && is.Name() != olds[v].Name():
			c.add(Noted, at, olds[v].Name(), is.Name(), "the value "+v+" has another name", nobody("the name is not in values"))
		case ok:
			c.texts(at, olds[v], is)
		case named:
			c.add(Narrowed, at, v, "", "the value "+v+" is gone; "+olds[v].Name()+" is "+moved+" now", writers("they write "+v+", which is refused"))
		default:
			c.add(Narrowed, at, v, "", "the value "+v+" is gone", writers("they write "+v+", which is refused"))
		}
	}
	for _, v := range after {
		if olds[v] == nil {
			c.add(Widened, join(path, "enumValues/"+news[v].Name()), "", v, "the value "+v+" is new", readers("they were never told of "+v))
		}
	}
}

func (c *comparison) fields(path string, old, now *dtdl.Schema) {
	olds, news := old.Fields(), now.Fields()
	for i := range olds {
		was := &olds[i]
		at := join(path, "fields/"+was.Name())
		is, ok := now.Field(was.Name())
		if !ok {
			c.add(Removed, at, schemaText(was.Schema()), "", "the field is gone", both("what they read or write is not there"))
			continue
		}
		c.texts(at, was, is)
		c.meaning(at, was, is)
		switch {
		case !was.Required() && is.Required():
			c.add(Narrowed, join(at, "required"), "false", "true", "the field is required now", writers("a value without it is refused"))
		case was.Required() && !is.Required():
			c.add(Widened, join(at, "required"), "true", "false", "the field may be absent now", readers("they count on its presence"))
		}
		c.schema(join(at, "schema"), was.Schema(), is.Schema())
	}
	for i := range news {
		is := &news[i]
		if _, ok := old.Field(is.Name()); ok {
			continue
		}
		at := join(path, "fields/"+is.Name())
		if is.Required() {
			c.add(Added, at, "", schemaText(is.Schema()), "the field is new and required", writers("a value without it is refused"))
		} else {
			c.add(Added, at, "", schemaText(is.Schema()), "the field is new", nobody("who does not know it passes over it"))
		}
	}
}

// schemaText names a schema in a few words.
func schemaText(s *dtdl.Schema) string { return describe(s, 3) }

func describe(s *dtdl.Schema, depth int) string {
	switch {
	case s == nil || s.Kind() == 0:
		return "unknown schema"
	case depth == 0:
		return "…"
	}
	switch s.Kind() {
	case dtdl.Array:
		return "array of " + describe(s.Elem(), depth-1)
	case dtdl.Map:
		return "map of " + describe(s.MapValue().Schema(), depth-1)
	case dtdl.Enum:
		return fmt.Sprintf("enum of %d %ss", len(s.EnumValues()), s.EnumKind())
	case dtdl.Object:
		var names []string
		for i, f := 0, s.Fields(); i < len(f); i++ {
			if i == 4 {
				names = append(names, "…")
				break
			}
			names = append(names, f[i].Name())
		}
		return "object of " + strings.Join(names, ", ")
	}
	return s.Kind().String()
}
