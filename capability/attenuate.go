package capability

import (
	"slices"
	"sort"
	"strings"

	"vaultmesh.org/vaultmesh"
)

// within reports, by the name of the field, where inner says more than outer allows. A nil field of inner inherits; a
// nil field of outer grants nothing where outer is the first block and restricts nothing where it is not.
func within(inner, outer Grant, first bool) error {
	lists := []struct {
		field        string
		inner, outer []string
		holds        func(outer, inner string) bool
	}{
		{"actions", inner.Actions, outer.Actions, equal},
		{"twins", inner.Twins, outer.Twins, covers},
		{"commands", inner.Commands, outer.Commands, covers},
		{"roles", inner.Roles, outer.Roles, equal},
		{"audience", domains(inner.Audience), domains(outer.Audience), equal},
	}
	for _, l := range lists {
		if l.outer == nil && (!first || l.field == "audience") {
			continue
		}
		for _, want := range l.inner {
			if !slices.ContainsFunc(l.outer, func(have string) bool { return l.holds(have, want) }) {
				return widens(l.field, "%q is not granted", want)
			}
		}
	}
	if inner.MaxUses > 0 && outer.MaxUses > 0 && inner.MaxUses > outer.MaxUses {
		return widens("max_uses", "%d uses of %d", inner.MaxUses, outer.MaxUses)
	}
	if !inner.NotBefore.IsZero() && inner.NotBefore.Before(outer.NotBefore) {
		return widens("not_before", "earlier than %s", outer.NotBefore.Format(timeFormat))
	}
	if !outer.Expires.IsZero() && inner.Expires.After(outer.Expires) {
		return widens("expires", "later than %s", outer.Expires.Format(timeFormat))
	}
	names := make([]string, 0, len(inner.Args))
	for name := range inner.Args {
		names = append(names, name)
	}
	sort.Strings(names) // so that the same mistake gives the same error
	for _, name := range names {
		keys := []string{name}
		if _, arg, qualified := strings.Cut(name, "."); qualified {
			keys = append(keys, arg)
		}
		for _, key := range keys {
			have, ok := outer.Args[key]
			if !ok {
				continue
			}
			if why := inner.Args[name].beyond(have); why != "" {
				return widens("args["+name+"]", "%s", why)
			}
		}
	}
	return nil
}

// beyond says how r allows more than outer; an open end of r inherits.
func (r Range) beyond(outer Range) string {
	if (r.OneOf != nil) != (outer.OneOf != nil) {
		return "a number in one block and a string in another can never both hold"
	}
	switch {
	case r.Min != nil && outer.Min != nil && *r.Min < *outer.Min:
		return "the minimum is below the one granted"
	case r.Max != nil && outer.Max != nil && *r.Max > *outer.Max:
		return "the maximum is above the one granted"
	case r.Max != nil && outer.Min != nil && *r.Max < *outer.Min, r.Min != nil && outer.Max != nil && *r.Min > *outer.Max:
		return "outside the range granted"
	}
	for _, s := range r.OneOf {
		if !slices.Contains(outer.OneOf, s) {
			return "a string that is not among those granted"
		}
	}
	return ""
}

func widens(field, format string, args ...any) error {
	return vaultmesh.Errorf(vaultmesh.Denied, "capability.attenuate", field, format, args...).
		WithFix("a holder can give away at most what it has")
}

func equal(a, b string) bool { return a == b }

func domains(ds []vaultmesh.Domain) []string {
	if ds == nil {
		return nil
	}
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = string(d)
	}
	return out
}
