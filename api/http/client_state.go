package httpapi

import (
	"context"
	"net/url"
	"strconv"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain"
	"vaultmesh.org/vaultmesh/proof/state"
)

// TwinState proves what the state held of a twin at the newest root below size; 0: at the newest. property may be empty.
// That the proof leads to the root is checked; that the log commits to the root is not: see [Client.BundleOf].
func (c *Client) TwinState(ctx context.Context, id vaultmesh.TwinID, property string, size uint64) (StateProof, error) {
	return c.state(ctx, state.TwinKey(id), values("twin", string(id), "property", property, "size", unlessZero(size)))
}

// SubjectState proves what the head of a subject's chain of receipts was, as TwinState does.
func (c *Client) SubjectState(ctx context.Context, subject string, size uint64) (StateProof, error) {
	return c.state(ctx, state.SubjectKey(subject), values("subject", subject, "size", unlessZero(size)))
}

func (c *Client) state(ctx context.Context, key string, query url.Values) (StateProof, error) {
	a, err := get[StateProof](ctx, c, call{method: "GET", path: "/v1/state/proof", query: query})
	if err != nil {
		return StateProof{}, err
	}
	p, err := state.Open(a.Proof)
	if err != nil {
		return StateProof{}, err
	}
	document, present, err := state.Verify(a.Root, key, &p)
	if err != nil {
		return StateProof{}, err
	}
	if present != a.Present || string(document) != string(a.Document) || a.Key != key || a.Receipt != p.Receipt {
		return StateProof{}, vaultmesh.Errorf(vaultmesh.Corrupt, "client", key, "the answer does not say what its proof proves")
	}
	return a, nil
}

func unlessZero(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// Search finds receipts, newest first; see [lawchain.Search]. Of its Subject only commands may be given.
func (c *Client) Search(ctx context.Context, command vaultmesh.CommandID, scroll string, q lawchain.Search) (SearchPage, error) {
	query := values("command", string(command), "scroll", scroll, "twin", string(q.Twin), "actor", string(q.Actor), "limit", positive(q.Limit), "cursor", q.Cursor, "from", instant(q.From), "to", instant(q.To))
	for _, k := range q.Kinds {
		query.Add("kind", k)
	}
	page, err := get[SearchPage](ctx, c, call{method: "GET", path: "/v1/receipts", query: query})
	for i := 0; err == nil && i < len(page.Receipts); i++ {
		err = page.Receipts[i].check()
	}
	return page, err
}
