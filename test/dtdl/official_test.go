package dtdl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh/dtdl"
	"vaultmesh.org/vaultmesh/test/peers"
)

// oracle is a running official parser: that of the language's .NET library, compiled to WebAssembly, on Node.
type oracle struct {
	in  *json.Encoder
	out *bufio.Scanner
}

// opinion is what the official parser says of a set.
type opinion struct {
	Version  string
	Valid    bool
	Elements int
	Errors   []struct{ ID, Element, Property string }
	// Unresolved are identifiers that the set refers to and does not hold.
	Unresolved []string
	Failure    string // the parser itself failed
	Took       cost
}

func startOracle(t testing.TB) *oracle {
	t.Helper()
	folder := peers.DTDLParser(t)
	script, err := filepath.Abs("oracle.mjs")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, "node", script, folder)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && ctx.Err() != nil {
			t.Errorf("the official parser did not end: %v %s", err, stderr.String())
		}
		cancel()
	})
	o := &oracle{in: json.NewEncoder(in), out: bufio.NewScanner(out)}
	o.in.SetEscapeHTML(false)
	o.out.Buffer(nil, 64<<20)
	first := o.answer(t)
	t.Log(first.Version)
	return o
}

func (o *oracle) answer(t testing.TB) opinion {
	t.Helper()
	if !o.out.Scan() {
		t.Fatalf("the official parser ended: %v", o.out.Err())
	}
	var a opinion
	if err := json.Unmarshal(o.out.Bytes(), &a); err != nil {
		t.Fatalf("%v: %.200s", err, o.out.Text())
	}
	return a
}

// ask hands a set over.
func (o *oracle) ask(t testing.TB, set []json.RawMessage) opinion {
	t.Helper()
	if err := o.in.Encode(set); err != nil {
		t.Fatal(err)
	}
	return o.answer(t)
}

// codes are the validation identifiers, sorted, each once.
func (a opinion) codes() []string {
	var out []string
	for _, e := range a.Errors {
		out = append(out, e.ID)
	}
	if len(a.Unresolved) > 0 {
		out = append(out, dtdl.OwnErrors+"unresolvedReference")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ours parses a set as the official parser does: every model is a document.
func ours(set []json.RawMessage) (valid bool, codes []string) {
	docs := make([]dtdl.Document, len(set))
	for i, m := range set {
		docs[i] = dtdl.Document{Name: "model", Data: m}
	}
	_, err := dtdl.Parse(docs, dtdl.Options{Limits: []string{}})
	var all *dtdl.Errors
	if errors.As(err, &all) {
		for _, e := range all.List {
			codes = append(codes, e.ValidationID)
		}
	}
	slices.Sort(codes)
	return err == nil, slices.Compact(codes)
}

func testData(t testing.TB, parts ...string) string {
	t.Helper()
	root := os.Getenv("VAULTMESH_TESTDATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir := filepath.Join(append([]string{root, "dtdl"}, parts...)...)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("VAULTMESH_REQUIRE_TESTDATA") == "1" {
			t.Fatalf("the test data is required: %v", err)
		}
		t.Skipf("the test data is absent: set VAULTMESH_TESTDATA to the folder that holds dtdl (%v)", err)
	}
	return dir
}

// readJSON reads a text file without a byte order mark.
func readJSON(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
}

var ontologies = []string{"building", "energygrid", "smartcities"}

// ontology reads all models of a folder.
func ontology(t testing.TB, name string) []json.RawMessage {
	t.Helper()
	var set []json.RawMessage
	err := filepath.WalkDir(testData(t, "models", name), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, ".json") {
			set = append(set, readJSON(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// suiteSets reads the sets of the suite's folder generated that need no options, resolver or limits, with the validation
// identifiers that it lists for each.
func suiteSets(t testing.TB) (names []string, sets [][]json.RawMessage, listed [][]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testData(t, "suite", "generated"), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		var c struct {
			Options          []string
			Input            []json.RawMessage
			Resolution       []any
			AcceptableLimits []string
			MaxDtdlVersion   int
			Expect           struct {
				ParsingErrors []struct{ ValidationID string }
			}
		}
		if err := json.Unmarshal(readJSON(t, f), &c); err != nil {
			t.Fatal(err)
		}
		if len(c.Options) == 0 && c.Resolution == nil && c.AcceptableLimits == nil && c.MaxDtdlVersion == 0 {
			names = append(names, filepath.Base(f))
			sets = append(sets, c.Input)
			var ids []string
			for _, e := range c.Expect.ParsingErrors {
				ids = append(ids, e.ValidationID)
			}
			slices.Sort(ids)
			listed = append(listed, slices.Compact(ids))
		}
	}
	return names, sets, listed
}

// thorough asks for all cases; otherwise a part that takes a few seconds.
func thorough() bool { return os.Getenv("VAULTMESH_SOAK") == "1" }

// agreement compares both parsers on a set: the verdicts must be the same, and every validation identifier
// that the official parser reports must be reported. There may be more: all errors of a set are reported in
// one run here, and the official parser stops earlier. It does not know the newest extensions; then it says
// so, and asked is false.
func agreement(t *testing.T, o *oracle, name string, set []json.RawMessage) (asked, same bool) {
	t.Helper()
	a := o.ask(t, set)
	theirs := a.codes()
	valid, codes := ours(set)
	for _, c := range theirs {
		if strings.HasSuffix(c, ":unresolvableContextVersion") || strings.HasSuffix(c, ":unresolvableContextSpecifier") {
			return false, slices.Equal(codes, theirs)
		}
	}
	if a.Failure != "" { // its code failed, on what is no valid set in any case
		if valid {
			t.Errorf("%s: the official parser fails (%s), ours says valid", name, a.Failure)
		}
		return false, false
	}
	if valid != a.Valid {
		t.Errorf("%s: valid is %v, the official parser says %v\nours %v\ntheirs %v\n%s", name, valid, a.Valid, codes, theirs, set)
	}
	const twice = "dtmi:dtdl:parsingError:duplicateDefinition" // makes what else it says a matter of order
	for _, c := range theirs {
		if !slices.Contains(codes, c) && !slices.Contains(codes, twice) {
			t.Errorf("%s: the official parser reports %v, ours %v\n%s", name, theirs, codes, set)
			break
		}
	}
	return true, slices.Equal(codes, theirs)
}

// TestOfficial compares both parsers; the official one takes seconds to start, so all comparisons share it.
func TestOfficial(t *testing.T) {
	testData(t)
	o := startOracle(t)
	t.Run("ontologies", func(t *testing.T) { compareOntologies(t, o) })
	t.Run("suite", func(t *testing.T) { compareSuite(t, o) })
	t.Run("mutations", func(t *testing.T) { compareMutations(t, o) })
}

// compareOntologies holds that both parsers accept the three public ontologies, and refuse them where a model is
// taken away that others need.
func compareOntologies(t *testing.T, o *oracle) {
	t.Helper()
	for _, name := range ontologies {
		set := ontology(t, name)
		if asked, same := agreement(t, o, name, set); !asked || !same {
			t.Errorf("%s: both parsers do not agree", name)
		}
		if valid, _ := ours(set); !valid {
			t.Errorf("%s is not valid", name)
		}
		needed := slices.IndexFunc(set, func(m json.RawMessage) bool { // a model that another one extends
			var head struct {
				ID string `json:"@id"`
			}
			_ = json.Unmarshal(m, &head)
			quoted, _ := json.Marshal(head.ID)
			return slices.ContainsFunc(set, func(other json.RawMessage) bool {
				return bytes.Contains(other, quoted) && !bytes.Equal(other, m)
			})
		})
		without := slices.Delete(slices.Clone(set), needed, needed+1)
		if valid, _ := ours(without); valid {
			t.Errorf("%s is valid without a model that is needed", name)
		}
		agreement(t, o, name+" without a model", without)
	}
}

// compareSuite compares the validation identifiers of both parsers over the conformance suite.
func compareSuite(t *testing.T, o *oracle) {
	t.Helper()
	names, sets, listed := suiteSets(t)
	step := 9
	if thorough() {
		step = 1
	}
	n, equal, newer, lists, literal := 0, 0, 0, 0, 0
	for i := 0; i < len(sets); i += step {
		asked, same := agreement(t, o, names[i], sets[i])
		if !asked {
			newer++
			continue
		}
		n++
		if len(listed[i]) > 0 && thorough() {
			lists++
			if slices.Equal(o.ask(t, sets[i]).codes(), listed[i]) {
				literal++
			}
		}
		if same {
			equal++
			continue
		}
		_, codes := ours(sets[i])
		t.Logf("%s: not the same: the official parser reports %v, ours %v", names[i], o.ask(t, sets[i]).codes(), codes)
	}
	t.Logf("%d sets, the same validation identifiers for %d; %d use an extension that the official parser of this version does not know", n, equal, newer)
	if thorough() { // docs/dtdl-conformance.md has the figure, which its own test cannot find out
		text := readJSON(t, filepath.Join("..", "..", "docs", "dtdl-conformance.md"))
		for _, figure := range []string{fmt.Sprintf("%d of %d sets", equal, n), fmt.Sprintf("%d of %d lists", literal, lists)} {
			if !bytes.Contains(text, []byte(figure)) {
				t.Errorf("docs/dtdl-conformance.md does not say %q: mend officialSame and officialLiteral in dtdl/conformance_test.go and write it anew", figure)
			}
		}
	}
	if n == 0 || equal*100 < n*99 {
		t.Errorf("only %d of %d sets have the same validation identifiers", equal, n)
	}
}

// compareMutations compares both parsers on sets of the suite in which one random thing is changed.
func compareMutations(t *testing.T, o *oracle) {
	t.Helper()
	_, sets, _ := suiteSets(t)
	count, seed := 150, uint64(1)
	if thorough() {
		count, seed = 5000, uint64(time.Now().UnixNano())
	}
	if s := os.Getenv("VAULTMESH_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d (VAULTMESH_SEED)", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	n, equal := 0, 0
	for i := 0; n < count && i < 4*count; i++ {
		set := mutate(t, r, sets[r.IntN(len(sets))])
		if slices.ContainsFunc(set, func(m json.RawMessage) bool { return misread.Match(m) }) {
			continue
		}
		asked, same := agreement(t, o, fmt.Sprintf("mutation %d", i), set)
		if asked {
			n++
		}
		if asked && same {
			equal++
		}
	}
	t.Logf("%d mutations, the same validation identifiers for %d", n, equal)
}

// misread matches models behind which the JSON reader of the official parser goes on in the wrong place, so
// that it reports errors of things that are not there.
var misread = regexp.MustCompile(`"@value":\[|"@type":\[\[`)

// fragments are values to put in the place of others.
var fragments = []string{
	`null`, `true`, `"true"`, `0`, `1`, `-1`, `1.5`, `2147483648`, `""`, `"x"`, `"a b"`, `"x_"`, `[]`, `{}`, `[[]]`, `"double"`, `"string"`, `"integer"`, `"boolean"`, `"point"`, `"duration"`,
	`"Telemetry"`, `"Property"`, `"Interface"`, `"Array"`, `"Object"`, `["Telemetry","Property"]`, `["Telemetry","Velocity"]`, `["Property","Historized"]`, `"dtmi:test:anInterface;1"`, `"dtmi:test:none;1"`,
	`"dtmi:dtdl:instance:Schema:double;2"`, `"dtmi:dtdl:class:Telemetry;3"`, `{"@type":"Array","elementSchema":"double"}`, `{"@id":"dtmi:test:o;1","@type":"Object","fields":[]}`,
	`{"@type":"Enum","valueSchema":"integer","enumValues":[{"name":"a","enumValue":1}]}`, `{"@value":"x"}`, `{"@value":1,"@type":"xsd:integer"}`, `{"en":"x"}`, `[{"@value":"x","@language":"de"}]`,
	`"dtmi:dtdl:context;2"`, `"dtmi:dtdl:context;3"`, `"dtmi:dtdl:context;4"`, `["dtmi:dtdl:context;3","dtmi:dtdl:extension:quantitativeTypes;1"]`,
}

// keys are members to add or to rename others to.
var keys = []string{
	"@id", "@type", "@context", "@value", "@graph", "@language", "name", "schema", "displayName", "description", "comment", "writable", "contents", "schemas", "extends", "request", "response",
	"elementSchema", "fields", "mapKey", "mapValue", "enumValues", "valueSchema", "enumValue", "target", "properties", "minMultiplicity", "maxMultiplicity", "unit", "nullable", "commandType", "other",
}

// mutate changes one random thing in a copy of the set.
func mutate(t *testing.T, r *rand.Rand, set []json.RawMessage) []json.RawMessage {
	t.Helper()
	out := slices.Clone(set)
	which := r.IntN(len(out))
	var v any
	if err := json.Unmarshal(out[which], &v); err != nil {
		t.Fatal(err)
	}
	fragment := func() any {
		var f any
		_ = json.Unmarshal([]byte(fragments[r.IntN(len(fragments))]), &f)
		return f
	}
	var objects []map[string]any
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			objects = append(objects, v)
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k])
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(v)
	if len(objects) == 0 {
		return out
	}
	o := objects[r.IntN(len(objects))]
	names := slices.Sorted(maps.Keys(o))
	key := keys[r.IntN(len(keys))]
	if len(names) > 0 && r.IntN(4) > 0 {
		key = names[r.IntN(len(names))]
	}
	switch r.IntN(4) {
	case 0:
		delete(o, key)
	case 1:
		if x, ok := o[key]; ok {
			delete(o, key)
			o[keys[r.IntN(len(keys))]] = x
		}
	case 2:
		if list, ok := o[key].([]any); ok && len(list) > 0 {
			o[key] = append(list, list[r.IntN(len(list))])
		} else {
			o[key] = fragment()
		}
	default:
		o[key] = fragment()
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out[which] = data
	return out
}
