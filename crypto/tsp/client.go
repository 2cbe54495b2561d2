package tsp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"gatewayd/crypto/cms"
)

// Media types of RFC 3161 section 3.4.
const (
	typeQuery = "application/timestamp-query"
	typeReply = "application/timestamp-reply"
)

// Client asks a time-stamping authority over HTTP.
type Client struct {
	URL   string
	HTTP  *http.Client // its time limit is the caller's business
	Trust cms.Trust    // anchors of the TSA; a stamp of another one is an error
}

// Stamp asks for a stamp over content and checks the answer. It returns the
// answer (a TimeStampResp) as it came: that is what is kept. Nothing is asked
// twice.
func (c Client) Stamp(ctx context.Context, content io.Reader) (response []byte, s Stamp, err error) {
	q, err := NewRequest(content)
	if err != nil {
		return nil, s, err
	}
	if response, err = c.ask(ctx, q); err != nil {
		return nil, s, fmt.Errorf("ask the time-stamping authority: %w", err)
	}
	token, err := Token(response)
	if err != nil {
		return nil, s, err
	}
	if s, err = Verify(token, nil, Options{Trust: c.Trust, Request: &q}); err != nil {
		return nil, s, err
	}
	if !s.Trusted() {
		return nil, s, errors.Join(ErrUntrusted, s.ChainErr)
	}
	return response, s, nil
}

func (c Client) ask(ctx context.Context, q Request) ([]byte, error) {
	der, err := q.DER()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(der))
	if err != nil {
		return nil, errors.New("its address is no URL") // which may hold a secret
	}
	req.Header.Set("Content-Type", typeQuery)
	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	defer res.Body.Close()
	if t, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); res.StatusCode != http.StatusOK || t != typeReply {
		return nil, fmt.Errorf("it answered %d, which is no time stamp", res.StatusCode)
	}
	response, err := io.ReadAll(io.LimitReader(res.Body, MaxSize+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(response) > MaxSize {
		return nil, errors.New("its answer is too long")
	}
	return response, nil
}

// plain leaves the URL out of an error: it may hold a secret.
func plain(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
