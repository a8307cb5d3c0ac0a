package dtdl

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestHostile gives documents that are made to cost time, memory or stack. Each must end, with the verdict
// that it deserves, and without using more than a bounded amount of memory.
func TestHostile(t *testing.T) {
	const many = 20_000
	list := func(n int, one func(i int) string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(one(i))
		}
		return b.String()
	}
	array := func(i int, to string) string {
		return fmt.Sprintf(`{"@id":"dtmi:t:s%d;1","@type":"Array","elementSchema":%q}`, i, to)
	}
	schemas := func(body string) string { return iface("dtmi:t:x;1", `"schemas":[`+body+`]`) }
	wide := func(version, levels int) string { // each level extends both interfaces of the next
		return "[" + list(2*levels, func(i int) string {
			id := fmt.Sprintf(`{"@context":"dtmi:dtdl:context;%d","@id":"dtmi:t:w%d;1","@type":"Interface"`, version, i)
			if l := i/2 + 1; l < levels {
				id += fmt.Sprintf(`,"extends":["dtmi:t:w%d;1","dtmi:t:w%d;1"]`, 2*l, 2*l+1)
			}
			return id + "}"
		}) + "]"
	}
	objects := list(60, func(i int) string { // each object has the next one in two fields
		if i == 59 {
			return array(i, "double")
		}
		return fmt.Sprintf(`{"@id":"dtmi:t:s%d;1","@type":"Object","fields":[{"name":"a","schema":"dtmi:t:s%d;1"},{"name":"b","schema":"dtmi:t:s%d;1"}]}`, i, i+1, i+1)
	})
	web := list(40, func(i int) string { // every object has every object
		return fmt.Sprintf(`{"@id":"dtmi:t:s%d;1","@type":"Object","fields":[%s]}`, i, list(40, func(j int) string { return fmt.Sprintf(`{"name":"f%d","schema":"dtmi:t:s%d;1"}`, j, j) }))
	})
	// an interface of v2, where unknown extensions are allowed
	open := func(context, rest string) string {
		return fmt.Sprintf(`{"@context":["dtmi:dtdl:context;2",%s],"@id":"dtmi:t:x;1","@type":"Interface",%s}`, context, rest)
	}
	unknown := list(10_000, func(i int) string { return fmt.Sprintf(`"dtmi:x:e%d;1"`, i) })
	contents := func(n int, more string) string {
		return `"contents":[` + list(n, func(i int) string {
			return fmt.Sprintf(`{"@type":"Property","name":"c%d","schema":"double"%s}`, i, more)
		}) + `]`
	}
	for _, c := range []struct {
		name, doc string
		valid     bool
	}{
		{"many unknown contexts, many contexts inside", open(unknown, contents(300, `,"@context":["dtmi:x:more;1","dtmi:dtdl:context;2"]`)), false},
		{"many unknown contexts, many more inside", open(unknown, contents(300, `,"@context":["dtmi:dtdl:context;2","dtmi:x:more;1"]`)), true},
		{"many unknown properties in many elements", strings.ReplaceAll(open(`"dtmi:x:e;1"`, contents(300, `,`+list(500, func(i int) string { return fmt.Sprintf(`"p%d":1`, i) }))), `"Property"`, `["Property","T"]`), true},
		{"many unknown types", open(`"dtmi:x:e;1"`, `"contents":[{"@type":["Property",`+list(many, func(i int) string { return fmt.Sprintf(`"T%d"`, i) })+`],"name":"c","schema":"double"}]`), true},
		{"one unknown type many times", open(`"dtmi:x:e;1"`, `"contents":[{"@type":["Property",`+list(many, func(int) string { return `"T"` })+`],"name":"c","schema":"double"}]`), true},
		{"many bases", iface("dtmi:t:x;1", `"extends":[`+list(many, func(i int) string { return fmt.Sprintf(`"dtmi:t:b%d;1"`, i) })+`]`), false},
		{"one base many times", iface("dtmi:t:x;1", `"extends":[`+list(many, func(i int) string { return `"dtmi:t:b;1"` })+`]`), false},
		{"arrays in arrays", iface("dtmi:t:x;1", `"contents":`+strings.Repeat("[", 100)+list(many, func(int) string { return "[]" })+strings.Repeat("]", 100)), true},
		{"many @graph", "[" + list(many, func(int) string { return `{"@graph":[1,{"@graph":null}]}` }) + "]", false},
		{"nesting of arrays", strings.Repeat("[", 1_000_000), false},
		{"nesting of objects", strings.Repeat(`{"a":`, 1_000_000), false},
		{"many values", "[" + strings.Repeat("1,", 2_000_000) + "1]", false},
		{"many errors", schemas(list(many, func(i int) string { return `{"@type":"Array"}` })), false},
		{"many contents", iface("dtmi:t:x;1", `"contents":[`+list(many, func(i int) string { return fmt.Sprintf(`{"@type":"Command","name":"c%d"}`, i) })+`]`), true},
		{"too large an interface", iface("dtmi:t:x;1", `"contents":[`+list(2*many, func(i int) string { return fmt.Sprintf(`{"@type":"Command","name":"c%d"}`, i) })+`]`), false},
		{"one name many times", iface("dtmi:t:x;1", `"contents":[`+strings.Repeat(`{"@type":"Command","name":"c"},`, 10_000)+`{"@type":"Command","name":"c"}]`), false},
		{"one key many times", iface("dtmi:t:x;1", strings.Repeat(`"comment":"a",`, many)+`"contents":[]`), false},
		{"one keyword many times", iface("dtmi:t:x;1", strings.Repeat(`"@id":"dtmi:t:x;1",`, many)+`"contents":[]`), false},
		{"many keywords", iface("dtmi:t:x;1", list(10*many, func(i int) string { return fmt.Sprintf(`"@p%d":1`, i) })), false},
		{"many values that must differ", strings.Replace(iface("dtmi:t:x;1", `"contents":[`+list(many, func(i int) string {
			return fmt.Sprintf(`{"@type":["Telemetry","Indexed"],"name":"c%d","schema":"double","index":%d}`, i, i+1)
		})+`]`), `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:dtdl:extension:mqtt;4"]`, 1), false}, // above 1 MiB
		{"many siblings of one type", strings.Replace(telemetry(`{"@type":["Object","Error"],"fields":[`+list(many/2, func(i int) string {
			return fmt.Sprintf(`{"@type":["Field","ErrorMessage"],"name":"c%d","schema":"string"}`, i)
		})+`]}`), `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;4","dtmi:dtdl:extension:mqtt;4"]`, 1), false},
		{"many unknown properties", iface("dtmi:t:x;1", list(many, func(i int) string { return fmt.Sprintf(`"p%d":1`, i) })), false},
		{"long chain of extends", chain(many, 4), false},
		{"diamonds of extends in v2", wide(2, 9), true},
		{"diamonds of extends, too deep", wide(2, 60), false},
		{"diamonds of extends, too many", wide(4, 12), false}, // 2^12 ways
		{"circle of extends", strings.Replace(chain(1000, 4), `"dtmi:t:c999;1","@type":"Interface"`, `"dtmi:t:c999;1","@type":"Interface","extends":"dtmi:t:c0;1"`, 1), false},
		{"long chain of schemas", schemas(list(15_000, func(i int) string { return array(i, fmt.Sprintf("dtmi:t:s%d;1", i+1)) }) + "," + array(15_000, "double")), false},
		{"circle of schemas", schemas(list(5_000, func(i int) string { return array(i, fmt.Sprintf("dtmi:t:s%d;1", (i+1)%5_000)) })), false},
		{"small circle of schemas in v4", schemas(list(5, func(i int) string { return array(i, fmt.Sprintf("dtmi:t:s%d;1", (i+1)%5)) })), true},
		{"diamonds of objects", schemas(objects), false},
		{"web of objects in v4", schemas(web), true},
		{"web of objects in v3", strings.Replace(schemas(web), "context;4", "context;3", 1), false},
		{"circle of components", "[" + list(1000, func(i int) string {
			return iface(fmt.Sprintf("dtmi:t:k%d;1", i), fmt.Sprintf(`"contents":[{"@type":"Component","name":"c","schema":"dtmi:t:k%d;1"}]`, (i+1)%1000))
		}) + "]", false},
		{"self in everything", iface("dtmi:t:x;1", `"extends":["dtmi:t:x;1"],"contents":[{"@type":"Component","name":"c","schema":"dtmi:t:x;1"}],"schemas":[`+array(1, "dtmi:t:s1;1")+`]`), false},
		{"byte order mark", "\xEF\xBB\xBF" + iface("dtmi:t:x;1", `"contents":[]`), true},
		{"two byte order marks", "\xEF\xBB\xBF\xEF\xBB\xBF" + iface("dtmi:t:x;1", `"contents":[]`), false},
		{"UTF-16", "\xFF\xFE{\x00}\x00", false},
		{"not UTF-8 in a key", iface("dtmi:t:x;1", "\"com\xC3ment\":\"a\""), false},
		{"overlong UTF-8", iface("dtmi:t:x;1", "\"comment\":\"\xC0\xAF\""), false},
		{"a zero byte", "\x00", false},
		{"a long identifier", iface("dtmi:"+strings.Repeat("a:", 500_000)+"a;1", `"contents":[]`), false},
		{"a long context", strings.Replace(iface("dtmi:t:x;1", `"contents":[]`), `"dtmi:dtdl:context;4"`, `[`+strings.Repeat(`"dtmi:dtdl:context;4",`, many)+`"dtmi:dtdl:context;4"]`, 1), true},
		{"many languages", iface("dtmi:t:x;1", `"displayName":{`+list(many, func(i int) string { return fmt.Sprintf(`"l%d":"x"`, i) })+`}`), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse([]Document{{Name: "hostile", Data: []byte(c.doc)}}, Options{})
			runtime.ReadMemStats(&after)
			if (err == nil) != c.valid {
				t.Errorf("valid is %v, want %v: %.300v", err == nil, c.valid, err)
			}
			var all *Errors
			if err != nil && (!errors.As(err, &all) || len(all.List) == 0 || len(all.List) > MaxErrors) {
				t.Errorf("%T", err)
			}
			// everything that is allocated, kept or not: a fixed part, and a multiple of the text
			if used, most := after.TotalAlloc-before.TotalAlloc, uint64(32<<20+250*len(c.doc)); used > most {
				t.Errorf("%d bytes are allocated for %d bytes of text", used, len(c.doc))
			}
		})
	}
}

// TestHostileValues does the same for instance values.
func TestHostileValues(t *testing.T) {
	set := mustParse(t, iface("dtmi:t:x;1", `"schemas":[{"@id":"dtmi:t:tree;1","@type":"Map","mapKey":{"name":"k","schema":"string"},"mapValue":{"name":"v","schema":"dtmi:t:tree;1"}}],
		"contents":[{"@type":"Property","name":"tree","schema":"dtmi:t:tree;1"},{"@type":"Property","name":"list","schema":{"@type":"Array","elementSchema":"integer"}},
		{"@type":"Property","name":"text","schema":"string"},{"@type":"Property","name":"number","schema":"double"},{"@type":"Component","name":"part","schema":"dtmi:t:part;1"}]`),
		iface("dtmi:t:part;1", `"contents":[{"@type":"Property","name":"p","schema":"double"}]`))
	x, _ := set.Interface("dtmi:t:x;1")
	for _, raw := range []string{
		strings.Repeat(`{"tree":`, 200_000), strings.Repeat("[", 1_000_000), `{"tree":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 101),
		`{"list":[` + strings.Repeat(`"a",`, 100_000) + `1]}`, `{` + strings.Repeat(`"a":1,`, 100_000) + `"b":2}`, `{"text":"` + strings.Repeat(`\u0000`, 100_000) + `"}x`,
		`{"number":` + strings.Repeat("9", 1_000_000) + `}`, `{"number":1e` + strings.Repeat("9", 1_000_000) + `}`, "{\"text\":\"\xff\"}", "\xEF\xBB\xBF{}", `{"part":{"part":{}}}`,
		strings.Repeat(" ", MaxValueBytes+1), `{"number":1,"number":2}`,
	} {
		if err := x.Validate([]byte(raw)); err == nil {
			t.Errorf("%.60s … is valid", raw)
		}
		if faults := x.Faults([]byte(raw)); len(faults) == 0 || len(faults) > MaxFaults {
			t.Errorf("%.60s …: %d faults", raw, len(faults))
		}
	}
}
