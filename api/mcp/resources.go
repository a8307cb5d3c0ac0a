package mcpapi

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/constitution"
)

// resource describes what can be read; a URI with braces is a template (RFC 6570).
type resource struct {
	uri, name, title, description, mime string
}

var resources = []resource{
	{constitution.URI, "constitution", "The constitution", "The specification of the digital twin that this domain has adopted, exactly as it was signed into the log.", "application/yaml"},
	{"twin://{id}", "twin", "A twin", "One twin as get_twin answers it.", "application/json"},
	{"twin://{id}/history/{name}", "twin-history", "A history", "The values of one property or telemetry in the last 15 minutes, at most 1000, as read_history answers them.", "application/json"},
	{"bundle://{command_id}", "bundle", "Evidence of a command", "The bundle that proves a command offline, as vaultmesh verify reads it.", bundleMIME},
}

func bundleURI(id vaultmesh.CommandID) string { return "bundle://" + url.PathEscape(string(id)) }

// maxURI bounds a URI, in bytes.
const maxURI = 1024

// errNoResource says that a URI names nothing here.
var errNoResource = errors.New("no such resource")

// read returns the text of a resource. It returns errNoResource where there is none.
func (s *Server) read(ctx context.Context, c call, uri string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.CallTime)
	defer cancel()
	if uri == constitution.URI {
		return constitution.Text(), nil
	}
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || len(uri) > maxURI {
		return "", errNoResource
	}
	parts := strings.Split(rest, "/")
	for i := range parts {
		var err error
		if parts[i], err = url.PathUnescape(parts[i]); err != nil {
			return "", errNoResource
		}
	}
	if vaultmesh.CheckID(scheme, parts[0]) != nil {
		return "", errNoResource
	}
	var text string
	var err error
	switch {
	case scheme == "twin" && len(parts) == 1:
		text, err = s.readTwinText(ctx, c, vaultmesh.TwinID(parts[0]))
	case scheme == "twin" && len(parts) == 3 && parts[1] == "history" && vaultmesh.CheckID("name", parts[2]) == nil:
		text, err = s.readHistoryText(ctx, c, parts[0], parts[2])
	case scheme == "bundle" && len(parts) == 1:
		text, err = s.readBundleText(ctx, c, vaultmesh.CommandID(parts[0]))
	default:
		return "", errNoResource
	}
	if vaultmesh.KindOf(err) == vaultmesh.NotFound {
		return "", errNoResource
	}
	return text, err
}

func (s *Server) readTwinText(ctx context.Context, c call, id vaultmesh.TwinID) (string, error) {
	out, err := s.readTwin(ctx, c, id)
	if err != nil {
		return "", err
	}
	doc, err := encode(out)
	return string(doc), err
}

func (s *Server) readHistoryText(ctx context.Context, c call, id, name string) (string, error) {
	doc, err := encode(map[string]any{"twin": id, "name": name, "limit": 1000})
	if err != nil {
		return "", err
	}
	c.args = doc
	a, err := readHistory.run(ctx, s, c)
	if err != nil {
		return "", err
	}
	doc, err = encode(a.value)
	return string(doc), err
}

func (s *Server) readBundleText(ctx context.Context, c call, id vaultmesh.CommandID) (string, error) {
	b, err := c.backend.Bundle(ctx, c.caller, []vaultmesh.CommandID{id})
	if err == nil && len(b) > s.limits.Bundle {
		err = vaultmesh.Errorf(vaultmesh.TooLarge, "bundle", string(id), "it has %d bytes, the limit here is %d", len(b), s.limits.Bundle).
			WithFix("a person can fetch it with: vaultmesh bundle %s --out FILE", id)
	}
	return string(b), err
}
