package bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/internal/remote"
)

// cloud is a [Bucket] through gocloud.dev/blob. A service answers a write after it is durable.
type cloud struct {
	b      *blob.Bucket
	prefix string // in front of every name; empty or with a slash at its end
	where  string
	// lock sets a retention on the request that is about to be sent; nil where the service has none.
	lock func(as func(any) bool, r Retention) error
}

// contentType of all objects: what tlog-tiles asks of a server, and no service guesses one.
const contentType = "application/octet-stream"

// prefixOf takes the prefix out of the URL: its path, or gocloud's parameter.
func prefixOf(u *url.URL) (prefix string, bare *url.URL) {
	c := *u
	q := c.Query()
	prefix = strings.Trim(c.Path, "/") + "/" + strings.Trim(q.Get("prefix"), "/")
	q.Del("prefix")
	c.Path, c.RawPath, c.RawQuery = "", "", q.Encode()
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return prefix, &c
}

func openMemory(u *url.URL) Bucket {
	prefix, _ := prefixOf(u)
	return &cloud{b: memblob.OpenBucket(nil), prefix: prefix, where: place(u)}
}

// String implements [Bucket].
func (c *cloud) String() string { return c.where }

// Close implements [Bucket].
func (c *cloud) Close() error { return c.b.Close() }

// Get implements [Bucket].
func (c *cloud) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	const op = "bucket.get"
	if err := check(op, name); err != nil {
		return nil, err
	}
	r, err := c.b.NewRangeReader(ctx, c.prefix+name, 0, -1, nil)
	if err != nil {
		return nil, c.failed(op, name, err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, c.failed(op, name, err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(c.where+"/"+name, limit)
	}
	return b, nil
}

// Create implements [Bucket].
func (c *cloud) Create(ctx context.Context, name string, data []byte, retain Retention) error {
	return c.write(ctx, "bucket.create", name, data, &blob.WriterOptions{IfNotExist: true}, retain)
}

// Replace implements [Bucket].
func (c *cloud) Replace(ctx context.Context, name string, data []byte) error {
	return c.write(ctx, "bucket.replace", name, data, &blob.WriterOptions{}, Retention{})
}

func (c *cloud) write(ctx context.Context, op, name string, data []byte, o *blob.WriterOptions, retain Retention) error {
	if err := check(op, name); err != nil {
		return err
	}
	o.ContentType, o.DisableContentTypeDetection = contentType, true
	o.BufferSize = len(data) + 1 // one request for one object
	if !retain.Until.IsZero() {
		if c.lock == nil {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, c.where, "this kind of bucket has no object lock").WithFix("use an S3 or GCS bucket with object lock, or no retention")
		}
		o.BeforeWrite = func(as func(any) bool) error { return c.lock(as, retain) }
	}
	// A context that ends before Close makes the write fail as a whole.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := c.b.NewWriter(ctx, c.prefix+name, o)
	if err != nil {
		return c.failed(op, name, err)
	}
	if _, err := w.Write(data); err != nil {
		cancel()
		_ = w.Close()
		return c.failed(op, name, err)
	}
	return c.failed(op, name, w.Close())
}

// Delete implements [Bucket].
func (c *cloud) Delete(ctx context.Context, name string) error {
	const op = "bucket.delete"
	if err := check(op, name); err != nil {
		return err
	}
	err := c.b.Delete(ctx, c.prefix+name)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return c.failed(op, name, err)
}

// List implements [Bucket].
func (c *cloud) List(ctx context.Context, prefix string, fn func(Object) (bool, error)) error {
	const op = "bucket.list"
	it := c.b.List(&blob.ListOptions{Prefix: c.prefix + prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.failed(op, prefix, err)
		}
		more, err := fn(Object{Name: strings.TrimPrefix(o.Key, c.prefix), Size: o.Size})
		if err != nil || !more {
			return err
		}
	}
}

// failed classifies an error of the service.
func (c *cloud) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if own := (*vaultmesh.Error)(nil); errors.As(err, &own) {
		return err
	}
	subject := c.where + "/" + name
	if code := statusOf(err); code == http.StatusPreconditionFailed || code == http.StatusConflict {
		return vaultmesh.Errorf(vaultmesh.Conflict, op, subject, "it exists").Because(remote.Cause(err))
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return vaultmesh.Errorf(vaultmesh.NotFound, op, subject, "no such object").Because(remote.Cause(err))
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return vaultmesh.Errorf(vaultmesh.Conflict, op, subject, "it exists")
	case gcerrors.PermissionDenied:
		return vaultmesh.Errorf(vaultmesh.Denied, op, subject, "the service refuses").Because(remote.Cause(err)).WithFix("check the credentials, their rights, and the retention of the object")
	case gcerrors.InvalidArgument:
		return vaultmesh.Errorf(vaultmesh.Invalid, op, subject, "the service does not accept the request").Because(remote.Cause(err))
	}
	return vaultmesh.Errorf(vaultmesh.Unavailable, op, subject, "the service does not answer as it should").Because(remote.Cause(err))
}

// statusOf is the HTTP status of a service's answer, 0 where there is none.
func statusOf(err error) int {
	var aws interface{ HTTPStatusCode() int }
	if errors.As(err, &aws) {
		return aws.HTTPStatusCode()
	}
	return 0
}
