package keysources

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Limits of one answer (quality.md S25).
const (
	maxAnswer    = 1 << 20 // octets
	maxRedirects = 3
	fetchTime    = 10 * time.Second // of one question with its repetitions
)

// What a question can fail with.
var (
	ErrNoAnswer = errors.New("nothing is published there")
	ErrTooLarge = errors.New("the answer is larger than allowed")
	errScheme   = errors.New("not a URL that may be asked")
)

// Fetcher asks HTTP servers that strangers name.
type Fetcher struct {
	client *retryablehttp.Client
	limit  int64
	http   bool // plain HTTP may be asked: what comes is signed
}

// FetchOptions configure a Fetcher.
type FetchOptions struct {
	Guard Guard
	Roots *x509.CertPool // nil: the system's
	Plain bool           // plain HTTP may be asked
	Limit int64          // octets of an answer; 0: 1 MiB
}

// NewFetcher returns a Fetcher. No proxy is used: it would reach what Guard
// forbids.
func NewFetcher(o FetchOptions) *Fetcher {
	f := &Fetcher{client: retryablehttp.NewClient(), limit: o.Limit, http: o.Plain}
	if f.limit <= 0 {
		f.limit = maxAnswer
	}
	f.client.Logger, f.client.RetryMax = nil, 1
	f.client.RetryWaitMin, f.client.RetryWaitMax = 200*time.Millisecond, time.Second
	f.client.Backoff = retryablehttp.LinearJitterBackoff // does not obey a Retry-After of an hour
	f.client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	f.client.HTTPClient = &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{
			DialContext: o.Guard.DialContext, TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 5 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			DisableCompression: true, ForceAttemptHTTP2: true, MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("too many redirects")
			}
			return f.allowed(req.URL)
		},
	}
	return f
}

// allowed looks at what a URL says about itself; Guard looks at where it leads.
func (f *Fetcher) allowed(u *url.URL) error {
	if u.Scheme != "https" && (u.Scheme != "http" || !f.http) || u.Host == "" || u.User != nil {
		return errScheme
	}
	return nil
}

// Get returns what a URL gives; ErrNoAnswer for 404 and 410. Errors do not name
// the URL: an address may stand in it.
func (f *Fetcher) Get(ctx context.Context, where string) ([]byte, error) {
	return f.ask(ctx, http.MethodGet, where, "", nil)
}

// Post sends octets and returns the answer.
func (f *Fetcher) Post(ctx context.Context, where, mediaType string, body []byte) ([]byte, error) {
	return f.ask(ctx, http.MethodPost, where, mediaType, body)
}

func (f *Fetcher) ask(ctx context.Context, method, where, mediaType string, body []byte) ([]byte, error) {
	u, err := url.Parse(where)
	if err != nil || f.allowed(u) != nil {
		return nil, errScheme
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	var content io.ReadSeeker
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, method, where, content)
	if err != nil {
		return nil, errScheme
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	req.Header.Set("User-Agent", "gatewayd")
	res, err := f.client.Do(req)
	if err != nil {
		return nil, nameless(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone:
		return nil, ErrNoAnswer
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("answer %d", res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, f.limit+1))
	if err != nil {
		return nil, nameless(err)
	}
	if int64(len(text)) > f.limit {
		return nil, ErrTooLarge
	}
	return text, nil
}

// nameless takes the URL out of an error.
func nameless(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}
