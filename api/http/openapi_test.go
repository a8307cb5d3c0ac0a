package httpapi

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// spec is openapi.yaml, with its schemas compiled more strictly than they are written: a member that no schema
// names is an error, so that the document cannot fall behind.
type spec struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

func loadSpec(t testing.TB) *spec {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	doc = plain(doc).(map[string]any)
	strict(doc["components"].(map[string]any)["schemas"])
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("https://vaultmesh.org/openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return &spec{doc: doc, compiler: c, schemas: map[string]*jsonschema.Schema{}}
}

// plain turns YAML's numbers into those that JSON has.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case int:
		return float64(v)
	}
	return v
}

func strict(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, sub := range v {
			strict(sub)
		}
		if _, has := v["additionalProperties"]; !has && v["type"] == "object" && v["properties"] != nil {
			v["additionalProperties"] = false
		}
	case []any:
		for _, sub := range v {
			strict(sub)
		}
	}
}

// schema compiles the schema at a JSON pointer below the document.
func (s *spec) schema(t testing.TB, pointer ...string) *jsonschema.Schema {
	t.Helper()
	for i, p := range pointer {
		pointer[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(p)
	}
	url := "https://vaultmesh.org/openapi.json#/" + strings.Join(pointer, "/")
	if s.schemas[url] == nil {
		c, err := s.compiler.Compile(url)
		if err != nil {
			t.Fatal(err)
		}
		s.schemas[url] = c
	}
	return s.schemas[url]
}

// operation returns the documented operation of a request and its templated path.
func (s *spec) operation(method, path string) (map[string]any, string) {
	path, _, _ = strings.Cut(path, "?")
	for template, item := range s.doc["paths"].(map[string]any) {
		expr := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(template, `[^/]+`)
		if strings.HasPrefix(template, "/log/tile/") {
			expr = `/log/tile/.+`
		}
		if op, ok := item.(map[string]any)[strings.ToLower(method)].(map[string]any); ok && regexp.MustCompile("^"+expr+"$").MatchString(path) {
			return op, template
		}
	}
	return nil, ""
}

// check holds a real answer against its schema, and, where the node accepted it, the request's body too.
func (s *spec) check(t *testing.T, x exchange, resp *http.Response, body []byte) {
	t.Helper()
	media := resp.Header.Get("Content-Type")
	if resp.StatusCode >= 400 {
		if media != problemType {
			t.Errorf("%s: an error of type %q", x.title, media)
			return
		}
		s.validate(t, x.title, body, "components", "schemas", "Problem")
		return
	}
	op, template := s.operation(x.method, x.path)
	if op == nil {
		t.Errorf("%s: %s %s is not documented", x.title, x.method, x.path)
		return
	}
	status := strconv.Itoa(resp.StatusCode)
	answer, ok := op["responses"].(map[string]any)[status].(map[string]any)
	if !ok {
		t.Errorf("%s: status %s is not documented", x.title, status)
		return
	}
	if _, ok := answer["content"].(map[string]any)[media]; !ok {
		t.Errorf("%s: type %q is not documented", x.title, media)
		return
	}
	if media == "application/json" {
		s.validate(t, x.title, body, "paths", template, strings.ToLower(x.method), "responses", status, "content", media, "schema")
	}
	if x.hasBody {
		s.validate(t, x.title+" (request)", x.body, "paths", template, "post", "requestBody", "content", "application/json", "schema")
	}
}

func (s *spec) validate(t testing.TB, title string, body []byte, pointer ...string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Errorf("%s: %v", title, err)
		return
	}
	if err := s.schema(t, pointer...).Validate(v); err != nil {
		t.Errorf("%s: %v\n%s", title, err, body)
	}
}

func TestRoutesAreDocumented(t *testing.T) {
	var routes, documented []string
	for _, r := range table {
		routes = append(routes, strings.ReplaceAll(r.pattern(), "...", ""))
	}
	for path, item := range loadSpec(t).doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("the mux has\n%s\nopenapi.yaml has\n%s", strings.Join(routes, "\n"), strings.Join(documented, "\n"))
	}
}

// Every schema compiles, also those that no test of an answer reaches.
func TestSchemasCompile(t *testing.T) {
	s := loadSpec(t)
	for name := range s.doc["components"].(map[string]any)["schemas"].(map[string]any) {
		s.schema(t, "components", "schemas", name)
	}
}

// Parameters of a path are documented, and no others are.
func TestPathParameters(t *testing.T) {
	for path, item := range loadSpec(t).doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			var inPath []string
			params, _ := op.(map[string]any)["parameters"].([]any)
			for _, p := range params {
				if p := p.(map[string]any); p["in"] == "path" {
					inPath = append(inPath, "{"+p["name"].(string)+"}")
				}
			}
			if got := regexp.MustCompile(`\{[a-z]+\}`).FindAllString(path, -1); !slices.Equal(got, inPath) {
				t.Errorf("%s %s: the path has %v, documented are %v", method, path, got, inPath)
			}
		}
	}
}
