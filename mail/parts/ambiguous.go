package parts

import (
	"regexp"
	"sort"
	"strings"

	"gatewayd/mail"
)

// Ambiguity is one thing that mail programs read differently.
type Ambiguity struct {
	Part   string `json:"part"`             // id of the part
	Kind   string `json:"kind"`             // "field-twice", "boundary-open", …
	Detail string `json:"detail,omitempty"` // the field
}

// maxAmbiguous bounds the list.
const maxAmbiguous = 200

func (in *Inspection) add(part, kind, detail string) {
	a := Ambiguity{part, kind, detail}
	for _, have := range in.Ambiguous {
		if have == a {
			return
		}
	}
	if len(in.Ambiguous) < maxAmbiguous {
		in.Ambiguous = append(in.Ambiguous, a)
	}
}

func (in *Inspection) addAll(part string, found map[string]bool) {
	var kinds []string
	for kind := range found {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	for _, kind := range kinds {
		in.add(part, kind, "")
	}
}

// Fields that may stand once (RFC 5322 section 3.6, RFC 2045 section 3), those
// of words, and those of parameters.
var (
	onceInMessage = []string{"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Date", "Subject", "Message-ID", "In-Reply-To", "References"}
	onceInPart    = []string{"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-ID", "Content-Description"}
	worded        = []string{"Subject", "From", "To", "Cc", "Sender", "Reply-To"}
	parametered   = []string{"Content-Type", "Content-Disposition"}
	uuencoded     = regexp.MustCompile(`^begin(-base64)? [0-7]{3,4} \S`)
	safeBoundary  = regexp.MustCompile(`^[0-9A-Za-z'()+_,./:=? *!#$%&;@^{|}~<>\[\]-]{0,69}[0-9A-Za-z'()+_,./:=?*!#$%&;@^{|}~<>\[\]-]$`)
)

// structure looks at header and structure of one part.
func (in *Inspection) structure(p *Part, id string, top bool) {
	in.lines(p.Header, id, top)
	once := onceInPart
	if top {
		once = append(append([]string{}, onceInMessage...), onceInPart...)
		in.author(p.Header)
	}
	for _, name := range once {
		if len(p.Header.All(name)) > 1 {
			in.add(id, "field-twice", name)
		}
	}
	for _, name := range worded {
		if mail.OddWords(p.Header.Get(name)) {
			in.add(id, mail.OddWord, name)
		}
	}
	for _, name := range parametered {
		if value := p.Header.Get(name); value != "" {
			for _, kind := range mail.OddParams(value) {
				in.add(id, kind, name)
			}
		}
	}
	in.kind(p, id)
	in.names(p, id)
	in.boundary(p, id)
}

// lines looks at the lines of a header.
func (in *Inspection) lines(h *mail.Header, id string, top bool) {
	mime := false
	for i, f := range h.Fields() {
		raw := string(f.Raw)
		mbox := top && i == 0 && (strings.HasPrefix(raw, "From ") || strings.HasPrefix(raw, ">From "))
		switch {
		case f.Name == "" && !mbox:
			in.add(id, "no-field", "")
		case strings.HasPrefix(strings.TrimPrefix(raw, f.Name), " "), strings.HasPrefix(strings.TrimPrefix(raw, f.Name), "\t"):
			if !mbox {
				in.add(id, "space-before-colon", f.Name)
			}
		}
		if strings.ContainsFunc(raw, func(r rune) bool { return r >= 0x80 }) {
			in.add(id, "8bit-in-header", f.Name)
		}
		if strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0x7f }) {
			in.add(id, "control-in-header", f.Name)
		}
		for k, line := range strings.Split(strings.TrimRight(raw, "\r\n"), "\n") {
			if k > 0 && strings.Trim(line, " \t\r") == "" {
				in.add(id, "blank-fold", f.Name)
			}
			if len(line) > 999 {
				in.add(id, "long-line", f.Name)
			}
		}
		mime = mime || strings.HasPrefix(strings.ToLower(f.Name), "content-t")
	}
	if version := mail.StripComments(h.Get("MIME-Version")); top && mime && version != "1.0" {
		in.add(id, "mime-version", "")
	}
}

// author looks at who the message is from.
func (in *Inspection) author(h *mail.Header) {
	switch {
	case len(in.From) == 0:
		in.add("1", "no-author", "From")
	case len(in.From) > 1 && len(in.Sender) == 0:
		in.add("1", "several-authors", "From")
	}
	for _, p := range in.From {
		list := mail.Addresses(p.Name)
		if len(list) > 0 && p.Address != "" && !strings.EqualFold(list[0].String(), p.Address) {
			in.add("1", "address-in-name", "From")
		}
	}
	for _, name := range []string{"From", "Sender"} {
		if value := h.Get(name); strings.Count(value, "<") > 1 && len(mail.Addresses(value)) < 2 {
			in.add("1", mail.OddSyntax, name)
		}
	}
}

// kind looks at media type, charset and transfer encoding.
func (in *Inspection) kind(p *Part, id string) {
	ct := p.Header.Get("Content-Type")
	if typ, _ := mail.ParseParams(ct); ct != "" && !isMediaType(typ) || ct == "" && len(p.Header.All("Content-Type")) > 0 {
		in.add(id, "media-type", "Content-Type")
	}
	if cs := p.Params["charset"]; cs != "" && strings.HasPrefix(p.Type, "text/") && !mail.SafeCharset(cs) {
		in.add(id, mail.OddCharset, "Content-Type")
	}
	raw := strings.TrimSpace(p.Header.Get("Content-Transfer-Encoding"))
	known := raw == "" && len(p.Header.All("Content-Transfer-Encoding")) == 0
	for _, name := range []string{"7bit", "8bit", "binary", "base64", "quoted-printable"} {
		known = known || strings.EqualFold(raw, name)
	}
	composite := strings.HasPrefix(p.Type, "multipart/") || strings.HasPrefix(p.Type, "message/rfc822") || p.Type == "message/partial" || p.Type == "message/external-body"
	switch {
	case !known:
		in.add(id, "transfer-encoding", raw)
	case composite && !p.identity():
		in.add(id, "encoded-composite", p.Type)
	}
	switch p.Type {
	case "message/partial", "message/external-body", "application/ms-tnef", "application/mac-binhex40":
		in.add(id, "content-elsewhere", p.Type)
	}
}

// names looks at the file names a part offers.
func (in *Inspection) names(p *Part, id string) {
	_, disposition := mail.ParseParams(p.Header.Get("Content-Disposition"))
	a, b := disposition["filename"], p.Params["name"]
	if a != "" && b != "" && a != b {
		in.add(id, "two-names", "")
	}
	for _, name := range []string{a, b} {
		if safe := mail.SafeFileName(name); safe != strings.TrimSpace(name) {
			in.add(id, "unsafe-name", "")
		}
	}
	for name := range p.Params {
		if strings.HasPrefix(name, "filename") {
			in.add(id, "name-in-wrong-field", "Content-Type")
		}
	}
	if _, ok := disposition["name"]; ok && a == "" {
		in.add(id, "name-in-wrong-field", "Content-Disposition")
	}
	if d := p.Disposition; d != "" && strings.Trim(d, tokenChars) != "" {
		in.add(id, mail.OddSyntax, "Content-Disposition")
	}
}

// boundary looks at the delimiters of a multipart (RFC 2046 section 5.1.1).
func (in *Inspection) boundary(p *Part, id string) {
	if p.noBlank {
		in.add(id, "header-open", "")
	}
	if !strings.HasPrefix(p.Type, "multipart/") {
		if p.Params["boundary"] != "" {
			in.add(id, "boundary-in-leaf", "")
		}
		return
	}
	if p.shared {
		in.add(id, "boundary-shared", "")
	}
	switch b := p.Params["boundary"]; {
	case b == "":
		in.add(id, "boundary-missing", "")
	case !safeBoundary.MatchString(b), strings.HasPrefix(b, " "):
		in.add(id, "boundary-odd", "")
	case p.delimiters == 0:
		in.add(id, "boundary-unused", "")
	case !p.closed:
		in.add(id, "boundary-open", "")
	}
	if p.nearMiss {
		in.add(id, "boundary-like-line", "")
	}
	if p.outside {
		in.add(id, "content-outside-parts", "")
	}
}
