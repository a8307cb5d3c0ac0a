package dtdl

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// contexts gives every object below n the dialect that is in force there and takes @context out of it. An
// object whose context is at fault, and what is below it, gets none.
func (b *builder) contexts(n *node, outer *dialect) {
	if id := n.get("@id"); id != nil && id.kind == '"' {
		defer func(outer string) { b.path = outer }(b.path)
		b.path = clip(id.text)
	}
	n.dialect, n.outer = outer, outer
	if at := slices.IndexFunc(n.members, func(m member) bool { return m.key == "@context" }); at >= 0 {
		n.dialect = b.context(n.members[at].value, outer)
		n.members = slices.Delete(n.members, at, at+1)
	} else if outer == nil && n.kind == '{' {
		b.fail(n.start, "missingContext", "@context", "the interface does not say its version of the language", "\"dtmi:dtdl:context;4\"", "")
	}
	if n.dialect == nil {
		return
	}
	for _, item := range n.items {
		b.contexts(item, n.dialect)
	}
	for _, m := range n.members {
		b.contexts(m.value, n.dialect)
	}
}

// context reads a context: of the language first, unless an outer context says that, then extensions and
// limits. It returns nil where the version of the language stays unknown.
func (b *builder) context(v *node, outer *dialect) *dialect {
	d := &dialect{extensions: make(map[string]int)}
	if outer != nil {
		*d = *outer
		d.extensions = maps.Clone(outer.extensions)
	}
	items := v.list()
	for i, item := range items {
		if item.kind != '"' {
			b.fail(item.start, "badContext", "@context", "found "+item.what(), "a string or an array of strings", "terms cannot be defined in a document")
			return nil
		}
		if version := languageVersion(item.text); version > 0 && (i == 0 || version == d.version) {
			if version != d.version {
				*d = dialect{version: version, limits: versionLimits[version], extensions: make(map[string]int)}
			}
			if item.text == iotCentralContext {
				d.extensions[iotCentral] = 2
			}
			if item.text == limitlessContext && (i+1 == len(items) || !isLimits(items[i+1].text)) {
				b.fail(item.start, "badContext", "@context", "no limits follow it", "a context of limits such as \"dtmi:dtdl:limits:onvif;1\" directly behind it", "write \"dtmi:dtdl:context;4\" for the limits of the language")
			}
			continue
		}
		if d.version == 0 {
			b.fail(item.start, "badContext", "@context", strconv.QuoteToASCII(clip(item.text))+" is not a context of the language",
				"\"dtmi:dtdl:context;4\" first", "versions 2, 3 and 4 are known")
			return nil
		}
		b.extend(d, item)
	}
	if d.version == 0 {
		b.fail(v.start, "missingContext", "@context", "it is empty", "\"dtmi:dtdl:context;4\"", "")
		return nil
	}
	return d
}

const (
	iotCentralContext = "dtmi:iotcentral:context;2"
	limitlessContext  = "dtmi:dtdl:context;4#limitless"
	standardLimits    = "dtmi:dtdl:context;4#limits"
)

// isLimits reports whether a context says which limits are in force.
func isLimits(context string) bool {
	return context == standardLimits || context == "dtmi:dtdl:context;4" || limitContexts[context] != nil
}

func languageVersion(context string) int {
	switch context {
	case "dtmi:dtdl:context;2", iotCentralContext:
		return 2
	case "dtmi:dtdl:context;3":
		return 3
	case "dtmi:dtdl:context;4", limitlessContext:
		return 4
	}
	return 0
}

// extend puts a context of an extension or of limits in force.
func (b *builder) extend(d *dialect, item *node) {
	if raise, ok := limitContexts[item.text]; ok && d.version == 4 {
		raise(&d.limits)
		return
	}
	switch item.text {
	case standardLimits:
		return
	case "dtmi:iotoperations:context;4":
		d.extensions[iotOperations] = 4
		return
	}
	if id, err := ParseDTMI(item.text); err != nil || id.Major() == 0 {
		b.fail(item.start, "badContext", "@context", strconv.QuoteToASCII(clip(item.text))+" is not an identifier with a version",
			"a context such as \"dtmi:dtdl:extension:quantitativeTypes;2\"", "")
		return
	}
	path, ours := strings.CutPrefix(item.text, "dtmi:dtdl:extension:")
	name, version, _ := strings.Cut(path, ";")
	known, isKnown := knownExtensions[name]
	isKnown = isKnown && ours
	span := known.v3
	if d.version == 4 {
		span = known.v4
	}
	v, err := strconv.Atoi(version)
	switch {
	case isKnown && err == nil && d.version > 2 && v >= span[0] && v <= span[1]:
		d.extensions[name] = v
	case isKnown && err == nil && d.version > 2 && v > 0 && v < span[0]: // it may be named, but what it defines is not for this version
	case d.version == 2 || b.options.AllowUndefinedExtensions:
		d.undefined = true
	case isKnown:
		b.fail(item.start, "badExtension", "@context", "the extension "+name+" of that version cannot be used in DTDL v"+strconv.Itoa(d.version),
			fmt.Sprintf("a version from %d to %d", span[0], span[1]), "")
	default:
		b.fail(item.start, "undefinedExtension", "@context", "the extension "+strconv.QuoteToASCII(clip(item.text))+" is not known",
			"an extension of the language such as \"dtmi:dtdl:extension:quantitativeTypes;2\"", "")
	}
}
