package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/receipt"
)

// readBody reads the whole body, at most limit bytes. A method that has no body here must not carry one: a part of
// the request that nobody reads is a place to hide in.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.Method != http.MethodPost {
		limit = 0
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, &statusError{http.StatusUnsupportedMediaType, vaultmesh.Errorf(vaultmesh.Invalid, "body", "Content-Encoding", "%.32q is not accepted", enc).
			WithFix("send the body uncompressed")}
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) && limit == 0:
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "body", "", "the method %.16s takes no body here", r.Method).WithFix("put parameters into the query")
	case errors.As(err, &tooLarge):
		return nil, vaultmesh.Errorf(vaultmesh.TooLarge, "body", "", "it has more than %d bytes", limit)
	case err != nil:
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "body", "", "it ended early or came too slowly").Because(err)
	}
	return b, nil
}

// decode reads the JSON object of a request into v, a pointer to a struct whose fields all have JSON names. It
// refuses another content type, invalid UTF-8, duplicate and unknown names, other spellings of a name, null where
// a value is expected, depth and trailing data, and says where. Members of type json.RawMessage are canonical.
func (s *Server) decode(q *request, v any) error {
	media, params, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if cs := params["charset"]; err != nil || media != "application/json" || cs != "" && !strings.EqualFold(cs, "utf-8") {
		return &statusError{http.StatusUnsupportedMediaType, vaultmesh.Errorf(vaultmesh.Invalid, "body", "Content-Type", "%.64q is not accepted", q.Header.Get("Content-Type")).
			WithFix("send application/json")}
	}
	return decodeJSON(q.body, receipt.Limits{Bytes: int(s.limits.Body), Depth: s.limits.Depth}, v)
}

func decodeJSON(raw []byte, limits receipt.Limits, v any) error {
	if len(raw) == 0 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "body", "", "it is empty").WithFix("send a JSON object")
	}
	doc, err := receipt.Canonical(raw, limits)
	if err != nil {
		return vaultmesh.Wrap(err, "body", "")
	}
	var members map[string]json.RawMessage
	if doc[0] != '{' || json.Unmarshal(doc, &members) != nil {
		return vaultmesh.Errorf(vaultmesh.Invalid, "body", "", "it is no JSON object")
	}
	// encoding/json matches names without regard to case, so they are compared here.
	names := fieldNames(v)
	for name, value := range members {
		if !slices.Contains(names, name) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "body", "", "the member %.64q is not known", name).WithFix("use %s", strings.Join(names, ", "))
		}
		if string(value) == "null" {
			return vaultmesh.Errorf(vaultmesh.Invalid, "body", name, "it is null").WithFix("leave the member out")
		}
	}
	if err := json.Unmarshal(doc, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "body", wrong.Field, "want %s, got %s", jsonType(wrong.Type), wrong.Value)
		}
		return vaultmesh.Errorf(vaultmesh.Invalid, "body", "", "a member has the wrong form").Because(err)
	}
	return nil
}

// fieldNames lists the JSON names of the struct that v points to.
func fieldNames(v any) []string {
	t := reflect.TypeOf(v).Elem()
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice:
		return "base64 text"
	case reflect.String:
		return "a string"
	default:
		return "another type"
	}
}

// checkReason bounds a person's or an agent's own words, which go into a receipt.
func checkReason(reason string) error {
	if reason == "" || len(reason) > 1024 {
		return vaultmesh.Errorf(vaultmesh.Invalid, "reason", "", "it has %d bytes, want 1 to 1024", len(reason)).WithFix("say in a sentence why")
	}
	return nil
}
