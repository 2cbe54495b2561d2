package config

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatewayd/message"
	"gatewayd/receipts"
)

// good is the shortest configuration that loads.
const good = `hostname = "gateway.bl.example"
data     = "data"

[authority.bau]
name         = "Bauinspektorat"
addresses    = ["bau@bl.example"]
members      = ["sachbearbeitung"]
fallback_key = "fallback.crt"

[[route]]
name = "alles"
when = "true"
via  = ["smtp"]
`

func TestDevelopmentLoads(t *testing.T) {
	dir := folder(t)
	c, problems := Load(filepath.Join(dir, "gatewayd.toml"), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", show(c.Warnings))
	}
	if len(c.Test) != 6 || len(c.Authorities) != 2 || c.IncaMail == nil || c.PrivaSphere == nil || c.Recogniser == nil || c.Rules == nil || c.ClientCAs == nil {
		t.Errorf("incomplete: %+v", c.File)
	}
	if c.Path != filepath.Join(dir, "gatewayd.toml") || c.Data != filepath.Join(dir, "data") {
		t.Errorf("paths %s, %s", c.Path, c.Data)
	}
	if got := c.Certificates["fachapplikation-bau.bl.example"]; got != "fachapplikation-bau" {
		t.Errorf("certificate signs in as %q", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil || hex.EncodeToString(c.Master) != strings.TrimSpace(string(text)) {
		t.Error("the master key is another one")
	}
	if tag := c.Platforms["incamail"].State.Tags[message.Registered]; tag != "<r> " {
		t.Errorf("tag %q", tag)
	}
}

func TestDevelopmentWantsNewFolder(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "x", "")
	if err := WriteDevelopment(dir, LoopbackPorts(12000)); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Error("something was written")
	}
}

func TestDevelopmentKeepsKeysPrivate(t *testing.T) {
	dir, err := development()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		secret := strings.HasSuffix(path, ".key") || e.Name() == "accounts" || e.Name() == DevelopmentPassword
		if info, err := e.Info(); err == nil && secret && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// example is the one of the first issue, its placeholders filled in.
const example = `hostname = "gateway.bl.example"
data     = "/var/lib/gatewayd"

[listen]
submission = { addr = ":587" }            # authorities' mail systems and clients; TLS is required
inbound    = { addr = ":25" }             # platforms and the world

[authority.bauinspektorat]
name      = "Bauinspektorat Basel-Landschaft"
addresses = ["bauinspektorat@bl.example", "baugesuche@bl.example"]
platforms = { incamail = "bauinspektorat@bl.example", privasphere = "bauinspektorat@bl.example" }
members   = ["sachbearbeitung", "fachapplikation-bau"]
fallback_key = "fallback.crt"                      # forced hand-over before erasure is encrypted to this certificate

[platform.incamail]
smarthost          = "mgi.incamail.example:25"     # from the contract; no default
client_certificate = { cert = "mta.crt", key = "mta.key" }
recognised         = { by = "Vo E-GovG Anhang 1", reference = "RRB 2021-100", from = 2022-01-01 }
receipt_anchors    = "anchors.crt"

[platform.privasphere]
smarthost      = "smtp.privasphere.example:25"
registered_tag = "<egov> "                         # no default: refuses class registered while empty

[[route]]
name = "entscheide"
when = 'message.class == "registered"'
via  = ["incamail", "privasphere"]                 # in order of preference; only where the recipient is registered

[[route]]
name = "übrige Post"
when = 'message.class == "normal"'
via  = ["smtp"]
keep = "until_done"

[retention]
content_months = 2
log_months     = 6

[[test]]
from = "bauinspektorat@bl.example"
to = "buerger@example.ch"
class = "registered"
expect = { route = "entscheide", via = "incamail", tag = "<r> " }
`

func TestExampleLoads(t *testing.T) {
	c, problems := Load(put(t, folder(t), "example.toml", example), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	if c.Data != "/var/lib/gatewayd" {
		t.Errorf("data = %s", c.Data)
	}
	warnings := strings.Join(show(c.Warnings), "\n")
	for _, want := range []string{"platform.privasphere.recognised: is missing", "platform.privasphere.receipt_anchors: is missing", "members[2]: cannot sign in"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("no warning %q in\n%s", want, warnings)
		}
	}
}

func TestWrongTestIsReported(t *testing.T) {
	text := strings.Replace(example, `via = "incamail", tag`, `via = "privasphere", tag`, 1)
	_, problems := Load(put(t, folder(t), "x.toml", text), now)
	if len(problems) != 1 || problems[0].Key != "test[1].expect.via" || !strings.Contains(problems[0].Text, `is "incamail", expected "privasphere"`) {
		t.Errorf("problems %q", show(problems))
	}
}

func TestDefaultsAreUsed(t *testing.T) {
	text := good + "[platform.incamail]\nsmarthost = \"127.0.0.1:25\"\n[policy]\nahv_numbers = false\n"
	c, problems := Load(put(t, folder(t), "x.toml", text), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	f := c.File
	if f.Listen.Submission.Addr != ":587" || f.Listen.SubmissionTLS.Addr != "" || f.Listen.Inbound.Addr != ":25" {
		t.Errorf("doors %+v", f.Listen)
	}
	if f.Policy.AHV || f.Policy.BulkLimit != 500 || f.Policy.ReferencePrefix != "BL" {
		t.Errorf("policy %+v", f.Policy)
	}
	if f.Limits.MessageSize != 50_000_000 || f.Delivery.RetryMax != Duration(time.Hour) || f.Retention.ContentMonths != 2 || f.Retention.LogMonths != 6 || len(f.Retention.Remind) != 2 {
		t.Errorf("limits %+v, delivery %+v, retention %+v", f.Limits, f.Delivery, f.Retention)
	}
	p := f.Platform.IncaMail
	if p.TLS != "starttls" || p.MaxSize != 30_000_000 || p.ReceiptWait != Duration(15*time.Minute) || f.Route[0].Keep != "" {
		t.Errorf("platform %+v, route %+v", p, f.Route[0])
	}
}

func TestFileMissing(t *testing.T) {
	c, problems := Load(filepath.Join(t.TempDir(), "none.toml"), now)
	if c != nil || len(problems) != 1 || !strings.Contains(problems[0].Text, "gatewayd init") {
		t.Errorf("%v, %q", c, show(problems))
	}
	if _, problems := Load(t.TempDir(), now); len(problems) != 1 {
		t.Errorf("a folder: %q", show(problems))
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	dir := folder(t)
	if err := os.Mkdir(filepath.Join(dir, "conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(good, "fallback.crt", "../fallback.crt", 1)
	text = "client_ca = '" + filepath.Join(dir, "ca.crt") + "'\ndirectory = '../directory.toml'\naccounts = '../accounts'\nmaster_key = { file = '../master.key' }\ntls = { cert = '../gateway.crt', key = '../gateway.key' }\n" + text
	c, problems := Load(put(t, filepath.Join(dir, "conf"), "g.toml", text), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	if c.Data != filepath.Join(dir, "conf", "data") || c.Directory != filepath.Join(dir, "directory.toml") {
		t.Errorf("data %s, directory %s", c.Data, c.Directory)
	}
}

func TestSecrets(t *testing.T) {
	dir := folder(t)
	key := strings.Repeat("0a", 32)
	t.Setenv("GATEWAYD_TEST_MASTER", key)
	t.Setenv("GATEWAYD_TEST_PASSWORD", "hunter2-from-env")
	put(t, dir, "relay.secret", "hunter2-from-file\r\n")
	text := "master_key = { env = \"GATEWAYD_TEST_MASTER\" }\n" + good + `
[smtp]
smarthost = "relay.example:25"
username  = "gw"
password  = { file = "relay.secret" }

[platform.privasphere]
smarthost = "127.0.0.1:25"
username  = "gw"
password  = { env = "GATEWAYD_TEST_PASSWORD" }
`
	c, problems := Load(put(t, dir, "x.toml", text), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	if hex.EncodeToString(c.Master) != key {
		t.Error("the master key is another one")
	}
	if got := c.Relay.Link.Login.Password; got != "hunter2-from-file" {
		t.Errorf("password from a file: %q", got)
	}
	if got := c.PrivaSphere.Link.Login.Password; got != "hunter2-from-env" {
		t.Errorf("password from the environment: %q", got)
	}
}

func TestReadableSecretsWarn(t *testing.T) {
	dir := folder(t)
	for _, name := range []string{"master.key", "accounts", "gateway.key"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, problems := Load(put(t, dir, "x.toml", good), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	var keys []string
	for _, w := range c.Warnings {
		if strings.Contains(w.Text, "chmod") {
			keys = append(keys, w.Key)
		}
	}
	slices.Sort(keys)
	if got := strings.Join(keys, " "); got != "accounts data master_key tls.key" {
		t.Errorf("warned of %s", got)
	}
}

// TestSecretsStayOut plants a secret wherever a value could stand by mistake
// and looks for it in what is reported.
func TestSecretsStayOut(t *testing.T) {
	const secret = "hunter2Zq"
	dir := folder(t)
	t.Setenv("GATEWAYD_TEST_MASTER", secret)
	put(t, dir, "master.key", secret)
	put(t, dir, "accounts", "sachbearbeitung:"+secret+"\n")
	put(t, dir, "directory.toml", "[[recipient]]\naddress = \""+secret+"\"\n")
	put(t, dir, "secret.crt", secret)
	smtp := "[smtp]\nsmarthost = \"relay.example:25\"\nusername = \"gw\"\npassword = "
	for _, text := range []string{
		good, // every named file holds it
		"master_key = { env = \"GATEWAYD_TEST_MASTER\" }\n" + good,
		"master_key = { env = \"" + secret + " \" }\n" + good,
		"master_key = \"" + secret + "\"\n" + good,
		"tls = { cert = \"secret.crt\", key = \"secret.crt\" }\n" + good,
		strings.Replace(good, "fallback.crt", "secret.crt", 1),
		strings.Replace(good, "bau@bl.example", secret, 1),
		good + smtp + secret + "\n",
		good + smtp + "'" + secret + "\n",
		good + smtp + "\"" + secret + "\\" + secret + "\"\n",
		good + smtp + "\"" + secret + "\" " + secret + "\n",
		good + smtp + "[\"" + secret + "\"]\n",
		good + smtp + "{ file = [\"" + secret + "\"] }\n",
	} {
		c, problems := Load(put(t, dir, "x.toml", text), now)
		if len(problems) == 0 {
			t.Errorf("no problem in\n%s", text)
		}
		if c != nil {
			problems = append(problems, c.Warnings...)
		}
		if all := strings.Join(show(problems), "\n"); strings.Contains(all, secret) || strings.Contains(all, "'h'") {
			t.Errorf("the secret is shown:\n%s", all)
		}
	}
}

func TestForeignProblemsKeepTheirPlace(t *testing.T) {
	dir := folder(t)
	put(t, dir, "directory.toml", "\n[[recipient]]\nadress = \"a@example.ch\"\n")
	put(t, dir, "accounts", "sachbearbeitung:plain\n")
	_, problems := Load(put(t, dir, "x.toml", good), now)
	files := map[string]int{}
	for _, p := range problems {
		files[filepath.Base(p.File)]++
		if p.Line == 0 {
			t.Errorf("no place: %s", p)
		}
	}
	if files["directory.toml"] == 0 || files["accounts"] != 1 {
		t.Errorf("problems %q", show(problems))
	}
}

func TestWarnings(t *testing.T) {
	dir := folder(t)
	platform := "[platform.incamail]\nsmarthost = \"127.0.0.1:25\"\nreceipt_anchors = \"anchors.crt\"\n"
	tests := []struct {
		text, want string
		at         time.Time
	}{
		{good, "tls: gateway.crt: the certificate ended on", now.AddDate(100, 0, 0)},
		{good, "fallback_key: fallback.crt: the certificate ended on", now.AddDate(100, 0, 0)},
		{good, "tls: gateway.crt: the certificate begins on", now.AddDate(-40, 0, 0)},
		{strings.Replace(good, "gateway.bl", "other.bl", 1), "tls: gateway.crt does not carry the hostname other.bl.example", now},
		{good + platform, "platform.incamail.recognised: is missing", now},
		{good + platform + "recognised = { by = \"x\", reference = \"y\", from = 2100-01-01 }\n", "recognised.from: lies in the future", now},
		{good + platform + "recognised = { by = \"x\", reference = \"y\", from = 2020-01-01, until = 2021-01-01 }\n", "recognised.until: is over", now},
		{good + "[platform.privasphere]\nsmarthost = \"127.0.0.1:25\"\n", "privasphere.registered_tag: is empty", now},
		{good + "[platform.privasphere]\nsmarthost = \"127.0.0.1:25\"\n", "privasphere.receipt_anchors: is missing", now},
	}
	for _, tt := range tests {
		c, problems := Load(put(t, dir, "x.toml", tt.text), tt.at)
		if len(problems) > 0 {
			t.Errorf("%s: problems %q", tt.want, show(problems))
			continue
		}
		if all := strings.Join(show(c.Warnings), "\n"); !strings.Contains(all, tt.want) {
			t.Errorf("no warning %q in\n%s", tt.want, all)
		}
	}
}

// TestRecognisedOnItsLastDay: until is the last day, included.
func TestRecognisedOnItsLastDay(t *testing.T) {
	at := time.Date(2026, 6, 30, 21, 30, 0, 0, time.UTC) // 23:30 in Zurich
	text := good + "[platform.incamail]\nsmarthost = \"127.0.0.1:25\"\nrecognised = { by = \"x\", reference = \"y\", from = 2026-06-30, until = 2026-06-30 }\n"
	path := put(t, folder(t), "x.toml", text)
	for _, tt := range []struct {
		at   time.Time
		warn bool
	}{{at, false}, {at.Add(time.Hour), true}, {at.Add(-24 * time.Hour), true}} {
		c, _ := Load(path, tt.at)
		all := strings.Join(show(c.Warnings), "\n")
		if got := strings.Contains(all, "recognised."); got != tt.warn {
			t.Errorf("%s: warned %v\n%s", tt.at, got, all)
		}
	}
}

func TestReceiptKindsAreKnown(t *testing.T) {
	o := receipts.Options{Platforms: receipts.DefaultPlatforms()}
	o.Platforms[0].Subjects = map[message.ReceiptKind][]string{}
	for _, kind := range receiptKinds() {
		o.Platforms[0].Subjects[message.ReceiptKind(kind)] = []string{"x"}
	}
	if _, errs := receipts.New(o); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestPatternsReplaceTheBuiltIn(t *testing.T) {
	text := good + `
[platform.incamail]
smarthost = "127.0.0.1:25"
receipt_senders = ["receipts.example"]
receipt_signers = ["CN=x"]
recipient_suffix = ".incamail.ch"
receipt_subjects = { abgabequittung = ["^A"] }
receipt_texts = { abgabequittung = ["^T"] }
`
	d := parse("x", []byte(text))
	b := builder{document: d}
	p := receipts.Platform{Name: "incamail", Senders: []string{"old"}}
	b.calibrate(&p, d.file.Platform.IncaMail)
	if len(b.problems) > 0 || p.Senders[0] != "receipts.example" || p.Signers[0] != "CN=x" || p.Suffixes[0] != ".incamail.ch" ||
		p.Subjects[message.Abgabequittung][0] != "^A" || p.Texts[message.Abgabequittung][0] != "^T" {
		t.Errorf("%q %+v", b.problems, p)
	}
}

func TestExplain(t *testing.T) {
	c, problems := Load(filepath.Join(folder(t), "gatewayd.toml"), now)
	if len(problems) > 0 {
		t.Fatal(show(problems))
	}
	x, err := c.Explain(Question{From: "BAUinspektorat@bl.example", To: "buerger@example.ch", Subject: "[einschreiben]\r\nBcc: x@y.example", Now: now})
	if err != nil || x.Decision.Route != "entscheide" {
		t.Errorf("%v, %+v", err, x.Decision)
	}
	for _, q := range []Question{
		{From: "Bau <a@b>", To: "a@example.ch"},
		{From: "bauinspektorat@bl.example", To: ""},
		{From: "stranger@bl.example", To: "a@example.ch"},
		{From: "", To: "a@example.ch"},
		{From: "bauinspektorat@bl.example", To: "a@example.ch", Class: "urgent"},
	} {
		if _, err := c.Explain(q); err == nil {
			t.Errorf("%+v: no error", q)
		} else if strings.Contains(err.Error(), "@") {
			t.Errorf("%v quotes an address", err)
		}
	}
}

func TestBigNamedFileIsRefused(t *testing.T) {
	dir := folder(t)
	put(t, dir, "ca.crt", string(bytes.Repeat([]byte("x"), maxNamed+1)))
	_, problems := Load(put(t, dir, "x.toml", "client_ca = \"ca.crt\"\n"+good), now)
	if len(problems) != 1 || !strings.Contains(problems[0].Text, "larger than") {
		t.Errorf("problems %q", show(problems))
	}
}
