package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"vaultmesh.org/vaultmesh"
)

// FeedQuery selects what a feed tells; zero fields select all that the token may see, from now on.
type FeedQuery struct {
	Since  *vaultmesh.LogIndex // the first receipt to tell: the index after the last one held
	Types  []string            // of FeedTwin, FeedCommand, FeedReceipt, FeedHalt
	Prefix string              // of the identifiers of twins
}

// FeedStream is an open feed. Next is for one goroutine; Close may be called from another.
type FeedStream struct {
	conn *websocket.Conn
	next *vaultmesh.LogIndex // the receipt that must come next
}

// maxFeedMessage bounds one message, in bytes.
const maxFeedMessage = 8 << 20

// Feed connects to the node's feed and reads its hello. Close the stream at the end.
func (c *Client) Feed(ctx context.Context, q FeedQuery) (*FeedStream, error) {
	since := ""
	if q.Since != nil {
		since = strconv.FormatUint(uint64(*q.Since), 10)
	}
	address := c.url("/v1/feed", values("since", since, "types", strings.Join(q.Types, ","), "prefix", q.Prefix))
	conn, resp, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: c.http})
	if err != nil {
		if resp != nil && resp.StatusCode >= 300 {
			// The library keeps the beginning of the body, which is enough for a problem document.
			b, _ := io.ReadAll(resp.Body)
			return nil, problem(resp, b)
		}
		return nil, unreachable(c.base.Host, err)
	}
	conn.SetReadLimit(maxFeedMessage)
	f := &FeedStream{conn: conn}
	hello, err := f.Next(ctx)
	if err == nil && (hello.Type != FeedHello || hello.Seq == nil) {
		err = vaultmesh.Errorf(vaultmesh.Corrupt, "client.feed", "", "the first message is %.16q, not a hello", hello.Type)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	f.next = hello.Seq
	return f, nil
}

// Next waits for the next message. An error ends the feed: Unavailable where it is worth to connect again (with
// Since after the last receipt), Denied where the token does not hold any more, Corrupt where a receipt is missing.
// The end of ctx closes the connection.
func (f *FeedStream) Next(ctx context.Context) (FeedMessage, error) {
	const op = "client.feed"
	_, b, err := f.conn.Read(ctx)
	if err != nil {
		kind := vaultmesh.Unavailable
		var bye websocket.CloseError
		reason := "the connection broke off"
		if errors.As(err, &bye) {
			reason = bye.Reason
			if bye.Code == websocket.StatusPolicyViolation {
				kind = vaultmesh.Denied
			}
		}
		return FeedMessage{}, vaultmesh.Errorf(kind, op, "", "%s", reason).WithFix("connect again with since after the last receipt").Because(err)
	}
	var m FeedMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return FeedMessage{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "a message cannot be read").Because(err)
	}
	if m.Receipt != nil && f.next != nil {
		if m.Receipt.Index != *f.next {
			return FeedMessage{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "receipt %d came where %d was due", m.Receipt.Index, *f.next)
		}
		next := *f.next + 1
		f.next = &next
		return m, m.Receipt.check()
	}
	return m, nil
}

// Close says goodbye to the node.
func (f *FeedStream) Close() error {
	err := f.conn.Close(websocket.StatusNormalClosure, "")
	var bye websocket.CloseError
	if err == nil || errors.As(err, &bye) || errors.Is(err, net.ErrClosed) {
		return nil // or the node closed first
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, "client.feed", "", "the connection broke off").Because(err)
}
