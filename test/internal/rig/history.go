package rig

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Lost looks for every value of the messages in the history that the node shows, and returns in words what is missing or
// different.
func Lost(ctx context.Context, c *Client, messages []Message) ([]string, error) {
	type series struct {
		twin vaultmesh.TwinID
		name string
	}
	type span struct{ from, to time.Time }
	spans := map[series]span{}
	for _, m := range messages {
		for name := range m.Values {
			k := series{m.Twin, name}
			p, ok := spans[k]
			if !ok || m.Time.Before(p.from) {
				p.from = m.Time
			}
			if m.Time.After(p.to) {
				p.to = m.Time
			}
			spans[k] = p
		}
	}
	stored := map[series]map[int64]string{}
	for k, p := range spans {
		stored[k] = map[int64]string{}
		if err := history(ctx, c, k.twin, k.name, p.from, p.to.Add(time.Microsecond), stored[k]); err != nil {
			return nil, err
		}
	}
	var lost []string
	for _, m := range messages {
		for name, want := range m.Values {
			have, ok := stored[series{m.Twin, name}][m.Time.UnixMicro()]
			if !ok || have != want && !equal(have, want) {
				lost = append(lost, fmt.Sprintf("the acknowledged %s of %s at %s was %s, the history has %q", name, m.Twin, m.Time.Format(time.RFC3339Nano), want, have))
			}
		}
	}
	return lost, nil
}

// history reads one series, page by page, into a map by microseconds.
func history(ctx context.Context, c *Client, twin vaultmesh.TwinID, name string, from, to time.Time, into map[int64]string) error {
	for more := true; more; {
		q := url.Values{"name": {name}, "from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}, "limit": {"5000"}}
		var page struct {
			Points []struct {
				T time.Time `json:"t"`
				V rawText   `json:"v"`
			} `json:"points"`
			More bool `json:"more"`
		}
		if err := c.Insist(ctx, "GET", "/v1/twins/"+string(twin)+"/history?"+q.Encode(), nil, &page); err != nil {
			return fmt.Errorf("history of %s %s: %w", twin, name, err)
		}
		for _, x := range page.Points {
			into[x.T.UnixMicro()] = string(x.V)
			from = x.T.Add(time.Microsecond)
		}
		more = page.More && len(page.Points) > 0
	}
	return nil
}

// rawText is JSON as it stands in the answer.
type rawText string

// UnmarshalJSON implements [json.Unmarshaler].
func (r *rawText) UnmarshalJSON(b []byte) error { *r = rawText(b); return nil }

// equal compares two JSON numbers by value: the text form is not part of the contract.
func equal(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	if err != nil {
		return false
	}
	y, err := strconv.ParseFloat(b, 64)
	return err == nil && x == y
}
