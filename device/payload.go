package device

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/twin"
)

// Limits of a response beside the packet size.
const (
	maxCode   = 64
	maxDetail = 512
	maxBody   = 8 << 10
)

func payloadError(field, format string, args ...any) *vaultmesh.Error {
	return vaultmesh.Errorf(vaultmesh.Invalid, "device.payload", field, format, args...)
}

// parseTelemetry reads the payload of a tel topic into m: Time, Seq, Properties, Telemetry, Quality and Raw. The values
// are slices of payload, of which m becomes the owner; whether they fit the model is for [Twins] to say.
func parseTelemetry(payload []byte, m *twin.Message) error {
	s, err := newScanner(payload)
	if err != nil {
		return err
	}
	timed := false
	err = s.object(func(name []byte) error {
		switch string(name) {
		case "t":
			t, err := s.time("t")
			m.Time, timed = t, true
			return err
		case "seq":
			return s.seq(m)
		case "telemetry":
			return s.values("telemetry", &m.Telemetry)
		case "properties":
			return s.values("properties", &m.Properties)
		case "q":
			return s.qualities(m)
		}
		return payloadError(clip(string(name), 64), "an unknown field").WithFix("want t, seq, telemetry, properties, q")
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return err
	}
	if !timed {
		return payloadError("t", "the time is missing").WithFix(`send "t":"2026-01-02T03:04:05.123456Z"`)
	}
	if len(m.Telemetry)+len(m.Properties) == 0 {
		return payloadError("", "there is no value").WithFix("send at least one under telemetry or properties")
	}
	m.Raw = payload
	return nil
}

// text returns the string at the cursor with its escapes resolved.
func (s *scanner) text(field string, limit int) (string, error) {
	s.space()
	content, err := s.str()
	if err != nil {
		return "", payloadError(field, "want a string")
	}
	text, err := unquote(content)
	if err != nil {
		return "", payloadError(field, "not a valid string")
	}
	if len(text) > limit {
		return "", vaultmesh.Errorf(vaultmesh.TooLarge, "device.payload", field, "%d bytes, the limit is %d", len(text), limit)
	}
	return text, nil
}

// time reads an RFC 3339 time in UTC with at most microseconds, the resolution of a twin: finer times would be cut, and
// two messages that differ only below it would look like one.
func (s *scanner) time(field string) (time.Time, error) {
	s.space()
	content, err := s.str()
	if err != nil {
		return time.Time{}, payloadError(field, "want a string with a time")
	}
	if n := len(content); n < len("2006-01-02T15:04:05Z") || n > len("2006-01-02T15:04:05.123456Z") || content[n-1] != 'Z' || bytes.IndexByte(content, ',') >= 0 {
		return time.Time{}, payloadError(field, "not a time").WithFix("want RFC 3339 in UTC with at most six decimals: 2026-01-02T03:04:05.123456Z")
	}
	t, err := time.Parse(time.RFC3339, string(content))
	if err != nil {
		return time.Time{}, payloadError(field, "not a time").WithFix("want RFC 3339 in UTC with at most six decimals: 2026-01-02T03:04:05.123456Z")
	}
	return t, nil
}

func (s *scanner) seq(m *twin.Message) error {
	s.space()
	from := s.pos
	if !s.digits() || s.pos-from > 5 || s.pos-from > 1 && s.data[from] == '0' {
		return payloadError("seq", "want an integer of 0 to 65535")
	}
	n, err := strconv.ParseUint(string(s.data[from:s.pos]), 10, 16)
	if err != nil {
		return payloadError("seq", "want an integer of 0 to 65535")
	}
	m.Seq = uint16(n)
	return nil
}

func (s *scanner) values(field string, into *map[string]json.RawMessage) error {
	return s.object(func(name []byte) error {
		if bytes.IndexByte(name, '\\') >= 0 { // no name of a model has a character that needs one
			return payloadError(field, "an escape in a name")
		}
		v, err := s.raw()
		if err != nil {
			return err
		}
		if *into == nil {
			*into = make(map[string]json.RawMessage, 4)
		}
		(*into)[string(name)] = v
		return nil
	})
}

func (s *scanner) qualities(m *twin.Message) error {
	return s.object(func(name []byte) error {
		if bytes.IndexByte(name, '\\') >= 0 {
			return payloadError("q", "an escape in a name")
		}
		s.space()
		content, err := s.str()
		if err != nil {
			return payloadError("q", "want a string for each name")
		}
		var q twin.Quality
		if err := q.UnmarshalText(content); err != nil {
			return err
		}
		if m.Quality == nil {
			m.Quality = make(map[string]twin.Quality, 4)
		}
		m.Quality[string(name)] = q
		return nil
	})
}

// parseResponse reads the payload of the rsp topic. Device is left to the caller.
func parseResponse(payload []byte) (Response, error) {
	s, err := newScanner(payload)
	if err != nil {
		return Response{}, err
	}
	var r Response
	var decided, timed bool
	err = s.object(func(name []byte) (err error) {
		switch string(name) {
		case "id":
			var id string
			if id, err = s.text("id", vaultmesh.MaxID); err == nil {
				err = vaultmesh.CheckID("command", id)
			}
			r.Command = vaultmesh.CommandID(id)
		case "ok":
			switch decided = true; s.peek() {
			case 't':
				r.OK, err = true, s.literal("true")
			case 'f':
				err = s.literal("false")
			default:
				err = payloadError("ok", "want true or false")
			}
		case "code":
			r.Code, err = s.text("code", maxCode)
		case "detail":
			r.Detail, err = s.text("detail", maxDetail)
		case "t":
			r.Time, err = s.time("t")
			timed = true
		case "body":
			if r.Body, err = s.raw(); err == nil && len(r.Body) > maxBody {
				err = vaultmesh.Errorf(vaultmesh.TooLarge, "device.payload", "body", "%d bytes, the limit is %d", len(r.Body), maxBody)
			}
		default:
			err = payloadError(clip(string(name), 64), "an unknown field").WithFix("want id, ok, code, detail, t, body")
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	switch {
	case err != nil:
		return Response{}, err
	case r.Command == "":
		return Response{}, payloadError("id", "the command's id is missing")
	case !decided:
		return Response{}, payloadError("ok", "the outcome is missing").WithFix(`send "ok":true or "ok":false`)
	case r.Code == "":
		return Response{}, payloadError("code", "the code is missing").WithFix(`send "code":"done" or the reason in a word`)
	case !timed:
		return Response{}, payloadError("t", "the time is missing")
	}
	return r, nil
}

// clip cuts text to at most n bytes, at a boundary of characters.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xc0 == 0x80 {
		n--
	}
	return text[:n]
}
