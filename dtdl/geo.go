package dtdl

import (
	"slices"
	"strconv"
)

// geometryNames are the values of "type" in GeoJSON (RFC 7946 section 3.1).
var geometryNames = [...]string{
	Point: "Point", MultiPoint: "MultiPoint", LineString: "LineString", MultiLineString: "MultiLineString", Polygon: "Polygon", MultiPolygon: "MultiPolygon",
}

// geometry validates an object with exactly the members "type" and "coordinates", in any order.
func (sc *scanner) geometry(k SchemaKind) *fault {
	if f := sc.open('{', k); f != nil {
		return f
	}
	if sc.peek() == '}' {
		return outside(k, "the geometry is empty")
	}
	var hasType, hasCoordinates bool
	for {
		key, f := sc.member()
		if f != nil {
			return f
		}
		switch {
		case string(key) == "type" && !hasType:
			hasType = true
			t, escaped, why := sc.str()
			if why != "" || escaped || string(t) != geometryNames[k] {
				return outside(k, "the type is not "+strconv.Quote(geometryNames[k])).in("type")
			}
		case string(key) == "coordinates" && !hasCoordinates:
			hasCoordinates = true
			if f := sc.coordinates(k); f != nil {
				return f.in("coordinates")
			}
		default:
			return outside(k, "a geometry has \"type\" and \"coordinates\" once each and nothing else")
		}
		end, f := sc.next('}')
		if f != nil {
			return f
		}
		if end {
			break
		}
	}
	if !hasType || !hasCoordinates {
		return outside(k, "the geometry lacks \"type\" or \"coordinates\"")
	}
	return nil
}

func (sc *scanner) coordinates(k SchemaKind) *fault {
	switch k {
	case Point:
		_, f := sc.position(k)
		return f
	case MultiPoint:
		return sc.positions(k, 0, false)
	case LineString:
		return sc.positions(k, 2, false)
	case MultiLineString:
		return sc.each(k, func() *fault { return sc.positions(k, 2, false) })
	case Polygon:
		return sc.rings(k)
	}
	return sc.each(k, func() *fault { return sc.rings(k) })
}

// rings validates the linear rings of a polygon: four or more positions, the last equal to the first.
func (sc *scanner) rings(k SchemaKind) *fault {
	return sc.each(k, func() *fault { return sc.positions(k, 4, true) })
}

// each validates the items of an array.
func (sc *scanner) each(k SchemaKind, item func() *fault) *fault {
	if f := sc.open('[', k); f != nil {
		return f
	}
	if sc.peek() == ']' {
		sc.close()
		return nil
	}
	for i := 0; ; i++ {
		if f := item(); f != nil {
			return f.in(strconv.Itoa(i))
		}
		if end, f := sc.next(']'); end || f != nil {
			return f
		}
	}
}

func (sc *scanner) positions(k SchemaKind, least int, closed bool) *fault {
	var first, last [3]float64
	n := 0
	if f := sc.each(k, func() (f *fault) {
		last, f = sc.position(k)
		if n == 0 {
			first = last
		}
		n++
		return f
	}); f != nil {
		return f
	}
	switch {
	case n < least:
		return outside(k, "there are too few positions")
	case closed && !slices.Equal(first[:], last[:]):
		return outside(k, "the ring is not closed: its last position is not its first")
	}
	return nil
}

// position validates longitude, latitude and an optional altitude.
func (sc *scanner) position(k SchemaKind) (p [3]float64, f *fault) {
	n := 0
	f = sc.each(k, func() *fault {
		start := sc.i
		if f := sc.float(Double); f != nil {
			return f
		}
		if n < len(p) {
			p[n], _ = strconv.ParseFloat(string(sc.data[start:sc.i]), 64)
		}
		n++
		return nil
	})
	if f == nil && (n < 2 || n > 3) {
		f = outside(k, "a position has 2 or 3 numbers: longitude, latitude and altitude")
	}
	return p, f
}
