// Package bucket owns the places where evidence is kept for others to read: a local folder, an S3 or GCS bucket, memory
// (tests), and, to read only, a web server. It is on floor 2.
//
// It must not know what the objects mean. The folder is a driver of our own: gocloud.dev's fileblob renames without
// syncing file or folder (v0.47), so a checkpoint could outlive the tiles that it needs in a power loss, and it keeps a
// second file of attributes beside each object, which no reader of tlog-tiles expects.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
)

// Bucket holds objects under slash-separated names. It is safe for concurrent use; every method ends when its context
// does, except that a local disk which does not answer is waited for.
//
// Errors are of kind NotFound, Conflict, Denied, TooLarge, Invalid or, for everything that may pass, Unavailable.
type Bucket interface {
	// Get returns an object of at most limit bytes.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Create writes an object that does not exist; Conflict says that it does. It is durable once Create returns, and a
	// reader sees all of it or nothing. Where retain is not zero the object cannot be deleted before that time; a bucket
	// without object lock refuses that as Invalid (see Locker).
	Create(ctx context.Context, name string, data []byte, retain Retention) error
	// Replace writes an object whether it exists or not, as durably and atomically as Create.
	Replace(ctx context.Context, name string, data []byte) error
	// Delete removes an object; one that does not exist is no error.
	Delete(ctx context.Context, name string) error
	// List calls fn for every object whose name begins with prefix until fn returns false or an error. The order is not
	// defined. A bucket that cannot list says so with kind Invalid.
	List(ctx context.Context, prefix string, fn func(Object) (bool, error)) error
	// String names the bucket without credentials.
	String() string
	Close() error
}

// Object is an entry of a listing.
type Object struct {
	Name string
	Size int64
}

// Retention keeps an object from deletion; the zero value does not.
type Retention struct {
	Until time.Time
	// Governed lets principals with a special right delete it nonetheless (S3 GOVERNANCE, GCS Unlocked); otherwise
	// nobody can (COMPLIANCE, Locked).
	Governed bool
}

// Locker is a [Bucket] that can say whether it keeps objects from deletion.
type Locker interface {
	// Locks reports whether the bucket has object lock (S3) or object retention (GCS).
	Locks(ctx context.Context) (bool, error)
}

// Versioned is a [Bucket] in which an overwritten object is still there.
type Versioned interface {
	// Versions calls fn with the content of each version of the object, oldest first, until fn returns false.
	Versions(ctx context.Context, name string, limit int64, fn func([]byte) (bool, error)) error
}

// Open opens a place by its address: a path or file:///path, s3://bucket/prefix?region=…&endpoint=…, gs://bucket/prefix,
// mem://name, or https://host/path and http://host/path to read only. Query parameters are those of gocloud.dev's s3blob
// and gcsblob. It asks no server anything.
func Open(ctx context.Context, address string) (Bucket, error) {
	const op = "bucket.open"
	if address == "" {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "no place is named").WithFix("give a folder or a URL such as s3://bucket?region=eu-central-1")
	}
	scheme, _, isURL := strings.Cut(address, "://")
	if !isURL {
		return NewFolder(address)
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, scheme+"://…", "it cannot be read as a URL")
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, address, "a file URL names no host").WithFix("write file:///path, with three slashes")
		}
		return NewFolder(filepath.FromSlash(u.Path))
	case "http", "https":
		return NewHTTP(address, nil)
	case "s3":
		return openS3(ctx, u)
	case "gs":
		return openGCS(ctx, u)
	case "mem":
		return openMemory(u), nil
	}
	return nil, vaultmesh.Errorf(vaultmesh.Invalid, op, u.Scheme+"://…", "no such kind of bucket").WithFix("use a folder, file://, s3://, gs://, or to read only https://")
}

// place names a URL without credentials and parameters.
func place(u *url.URL) string {
	return fmt.Sprintf("%s://%s%s", u.Scheme, u.Host, u.Path)
}

// notOpened says why a driver did not open a bucket, without the URL that it puts into its error: an endpoint in the
// parameters may hold a password.
func notOpened(u, given *url.URL, err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), given.String(), place(u)))
}

// check refuses names that would leave the bucket or that some kinds of bucket could not hold.
func check(op, name string) error {
	if name == "" || len(name) > 512 || !filepath.IsLocal(filepath.FromSlash(name)) {
		return vaultmesh.Errorf(vaultmesh.Invalid, op, fmt.Sprintf("%.80q", name), "not a name of an object")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.HasPrefix(part, ".tmp") {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, fmt.Sprintf("%.80q", name), "not a name of an object")
		}
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '\\' {
			return vaultmesh.Errorf(vaultmesh.Invalid, op, fmt.Sprintf("%.80q", name), "not a name of an object")
		}
	}
	return nil
}

// tooLarge is the error of Get for an object beyond the limit.
func tooLarge(name string, limit int64) error {
	return vaultmesh.Errorf(vaultmesh.TooLarge, "bucket.get", name, "it has more than %d bytes", limit)
}
