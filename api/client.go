package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatewayd/audit"
	"gatewayd/crypto/entity"
	"gatewayd/legal"
	"gatewayd/message"
	"gatewayd/queue"
	"gatewayd/retention"
)

// maxAnswer bounds what the client reads, in octets.
const maxAnswer = 256 << 20

// Client is an Operator that asks a running daemon.
type Client struct {
	http *http.Client
}

// NewClient returns a client of the socket at path. Nothing is dialled yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Trace implements Operator.
func (c *Client) Trace(ctx context.Context, r message.Reading, question string) (stories []message.Story, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/trace", with(r, url.Values{"q": {question}}), &stories)
	return stories, err
}

// with adds who reads, and what for.
func with(r message.Reading, query url.Values) url.Values {
	query.Set("by", r.By)
	query.Set("purpose", string(r.Purpose))
	return query
}

// Message implements Operator.
func (c *Client) Message(ctx context.Context, id message.ID) (s message.Story, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/queue/"+id.String(), nil, &s)
	return s, err
}

// List implements Operator.
func (c *Client) List(ctx context.Context, q queue.Query) ([]message.Item, string, error) {
	var p page
	err := c.ask(ctx, http.MethodGet, "/v1/queue", url.Values{
		"state": {string(q.State)}, "authority": {q.Authority}, "after": {q.After}, "limit": {strconv.Itoa(q.Limit)},
	}, &p)
	return p.Items, p.Next, err
}

// Counts implements Operator.
func (c *Client) Counts(ctx context.Context) (counts map[message.State]int, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/queue/counts", nil, &counts)
	return counts, err
}

// Unmatched implements Operator.
func (c *Client) Unmatched(ctx context.Context, r message.Reading, limit int) (rs []message.Receipt, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/receipts/unmatched", with(r, url.Values{"limit": {strconv.Itoa(limit)}}), &rs)
	return rs, err
}

// Check implements Operator.
func (c *Client) Check(ctx context.Context) (problems []string, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/queue/check", nil, &problems)
	return problems, err
}

// VerifyAudit implements Operator.
func (c *Client) VerifyAudit(ctx context.Context, marks []audit.Mark) (report audit.Report, err error) {
	query := url.Values{}
	for _, m := range marks {
		query.Add("mark", m.String()+" "+m.From)
	}
	err = c.ask(ctx, http.MethodPost, "/v1/audit/verify", query, &report)
	return report, err
}

// Release implements Operator.
func (c *Client) Release(ctx context.Context, key message.ItemKey, reason string) error {
	return c.act(ctx, key, "release", reason)
}

// Hold implements Operator.
func (c *Client) Hold(ctx context.Context, key message.ItemKey, reason string) error {
	return c.act(ctx, key, "hold", reason)
}

// Drop implements Operator.
func (c *Client) Drop(ctx context.Context, key message.ItemKey, reason string) error {
	return c.act(ctx, key, "drop", reason)
}

// Retry implements Operator.
func (c *Client) Retry(ctx context.Context, key message.ItemKey) error {
	return c.act(ctx, key, "retry", "")
}

// Pause implements Operator.
func (c *Client) Pause(ctx context.Context, destination, reason string) error {
	return c.ask(ctx, http.MethodPost, "/v1/destinations/"+url.PathEscape(destination)+"/pause", url.Values{"reason": {reason}}, &struct{}{})
}

// Resume implements Operator.
func (c *Client) Resume(ctx context.Context, destination, reason string) error {
	return c.ask(ctx, http.MethodPost, "/v1/destinations/"+url.PathEscape(destination)+"/resume", url.Values{"reason": {reason}}, &struct{}{})
}

// Destinations implements Operator.
func (c *Client) Destinations(ctx context.Context) (list []message.Destination, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/destinations", nil, &list)
	return list, err
}

func (c *Client) act(ctx context.Context, key message.ItemKey, action, reason string) error {
	return c.actWith(ctx, key, action, url.Values{"reason": {reason}})
}

func (c *Client) actWith(ctx context.Context, key message.ItemKey, action string, with url.Values) error {
	var nothing struct{}
	return c.ask(ctx, http.MethodPost, fmt.Sprintf("/v1/queue/%s/%d/%s", key.Message, key.N, action), with, &nothing)
}

// Cases implements Operator.
func (c *Client) Cases(ctx context.Context, question string) (cases []legal.Case, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/cases", url.Values{"q": {question}}, &cases)
	return cases, err
}

// CloseTask implements Operator.
func (c *Client) CloseTask(ctx context.Context, key message.ItemKey, code, reason string) error {
	return c.actWith(ctx, key, "close", url.Values{"task": {code}, "reason": {reason}})
}

// SayExpected implements Operator.
func (c *Client) SayExpected(ctx context.Context, key message.ItemKey, a legal.Answer, reason string) error {
	return c.actWith(ctx, key, "expects", url.Values{"answer": {string(a)}, "reason": {reason}})
}

// Mailbox implements Operator.
func (c *Client) Mailbox(ctx context.Context, r message.Reading, authority string, d message.Direction, after string, limit int, subjects bool) ([]message.Story, string, error) {
	var p stories
	query := with(r, url.Values{"direction": {string(d)}, "after": {after}, "limit": {strconv.Itoa(limit)}})
	if subjects {
		query.Set("subjects", "1")
	}
	err := c.ask(ctx, http.MethodGet, "/v1/mailbox/"+url.PathEscape(authority), query, &p)
	return p.Messages, p.Next, err
}

// Fetch implements Operator.
func (c *Client) Fetch(ctx context.Context, r message.Reading, authority string, id message.ID, open bool, w io.Writer) error {
	query := with(r, url.Values{})
	if open {
		query.Set("open", "1")
	}
	return c.stream(ctx, "/v1/mailbox/"+url.PathEscape(authority)+"/"+id.String(), query, w)
}

// Contents implements Operator.
func (c *Client) Contents(ctx context.Context, r message.Reading, authority string, id message.ID) (all entity.Contents, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/mailbox/"+url.PathEscape(authority)+"/"+id.String()+"/contents", with(r, url.Values{}), &all)
	return all, err
}

// Evidence implements Operator.
func (c *Client) Evidence(ctx context.Context, r message.Reading, key message.ItemKey, w io.Writer) error {
	return c.stream(ctx, "/v1/evidence/"+key.String(), with(r, url.Values{}), w)
}

// Seal implements Operator.
func (c *Client) Seal(ctx context.Context, r message.Reading, key message.ItemKey, bundle string) (seal []byte, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/evidence/"+key.String()+"/seal", with(r, url.Values{"bundle": {bundle}}), &seal)
	return seal, err
}

func (c *Client) stream(ctx context.Context, path string, query url.Values, w io.Writer) error {
	res, err := c.send(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(w, res.Body)
	return err
}

// Receipt implements Operator.
func (c *Client) Receipt(ctx context.Context, r message.Reading, authority string, id message.ID, which string) (message.Receipt, []byte, error) {
	var o original
	err := c.ask(ctx, http.MethodGet, "/v1/mailbox/"+url.PathEscape(authority)+"/"+id.String()+"/receipts/"+url.PathEscape(which), with(r, url.Values{}), &o)
	return o.Receipt, o.Document, err
}

// RetentionReport implements Operator.
func (c *Client) RetentionReport(ctx context.Context, at time.Time) (report json.RawMessage, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/retention", url.Values{"at": {at.Format(time.RFC3339)}}, &report)
	return report, err
}

// ResetClock implements Operator.
func (c *Client) ResetClock(ctx context.Context, reason string) error {
	var nothing struct{}
	return c.ask(ctx, http.MethodPost, "/v1/retention/clock", url.Values{"reason": {reason}}, &nothing)
}

// ReleaseRun implements Operator.
func (c *Client) ReleaseRun(ctx context.Context, run, by, reason string) (n int, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/retention/release", url.Values{"run": {run}, "by": {by}, "reason": {reason}}, &n)
	return n, err
}

// VerifyProtocols implements Operator.
func (c *Client) VerifyProtocols(ctx context.Context) (report retention.ChainReport, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/retention/verify", nil, &report)
	return report, err
}

// RetentionSweep implements Operator.
func (c *Client) RetentionSweep(ctx context.Context) (did retention.Result, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/retention/sweep", nil, &did)
	return did, err
}

func (c *Client) ask(ctx context.Context, method, path string, query url.Values, into any) error {
	res, err := c.send(ctx, method, path, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(into)
}

// send asks, and turns everything but 200 into an error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://gatewayd"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the running gateway: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var p problem
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&p); err != nil {
		return nil, fmt.Errorf("the running gateway answered %s", res.Status)
	}
	if p.Status == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %s", queue.ErrNotFound, p.Detail)
	}
	return nil, fmt.Errorf("%s: %s", p.Title, p.Detail)
}
