package bounce

import (
	"regexp"
	"strings"

	"gatewayd/mail"
)

// Signs of a report written for people. No one alone is enough: colleagues
// forward bounces, postmasters write letters, subjects are borrowed.
var (
	daemonName = regexp.MustCompile(`(?i)mailer.?daemon|post_?master|mail[-._ ]?deliver|mail (?:system|server|administrator)|delivery (?:sub)?system|system administrator|mdaemon|maildaemon|mmdf|mail[-_. ]?router|non.?deliver|microsoftexchange[0-9a-f]{32}|メール配信`)
	subjects   = regexp.MustCompile(`(?i)undeliver|deliver[a-z]* (?:status|fail|has fail|notif|problem|report|error|incomplete|delay|subsystem)|fail(?:ure|ed)? (?:notice|deliver|report|mail)|` +
		`return(?:ed|ing) (?:e-?)?(?:mail|message|to sender)|(?:mail|message)(?: \S+)? (?:fail|delay|error|reject|return|system error|not deliver|non.?deliver|could not|undeliver|delivery|status)|` +
		`could ?n[o']t (?:be )?(?:deliver|send|sent)|cannot (?:be )?(?:deliver|send)|not (?:be )?deliver|non.?deliver|user unknown|warning: (?:could not|message)|permanent delivery|error sending|rejected|bounce|` +
		`unzustellbar|nicht zustell|nicht zugestellt|zustellung|non remis|[ée]chec|non distribu|rapport de non|mancata consegna|non recapit|no se (?:ha )?(?:pud|puede)|no entregad|error de entrega|` +
		`n[ãa]o entregue|falha n|onbestelbaar|inte levereras|olevererbar|niedostarcz|nedoru[čc]|не ?достав|невозможно|недоставлен|配信|配達|送信|エラー|届|退信|投递|無法|失败|반송|返送`)
	notDelivered = regexp.MustCompile(`(?:could ?n[o']t|can ?n[o']t|can't|unable to|not able to|n't able to|was not|were not|wasn't|weren't|has not|have not|fail(?:ed|ure)? to|did not|is not|not been|not be|trouble) (?:\S+ ){0,12}?(?:deliver|delevery|sent|send|reach|relay|route|accept|process)|` +
		`undeliver|unsent message|non.?deliver|deliver[a-z]* (?:\S+ ){0,8}?(?:fail|error|problem|delay|unsuccess|abort|expired|suspend)|fail(?:ed|ure) (?:\S+ ){0,5}?(?:deliver|send)|` +
		`permanent (?:fatal )?(?:error|failure)|(?:fatal|transient|delivery) (?:non-fatal )?errors?|rejected (?:recipient|by)|was rejected|were rejected|recipients? (?:\S+ ){0,4}?(?:fail|affected|reject)|` +
		`address(?:\(es\)|es)? (?:\S+ )?fail|returned to (?:the )?sender|transcript of session|invalid user address|(?:mailbox|account) (?:is |has )?(?:full|exceed|disabled|over)|exceeds allowed size|invalid final delivery|error\(s\):|` +
		`no valid recipients|occurred while (?:attempting|trying) to (?:deliver|send)|message is delayed|user (?:is )?unknown|unknown user|no such user|does(?: not|n't) (?:exist|have)|failure reason|failed recipient|not listed in|said: ?[45]\d\d|<<< ?[45]\d\d|out: [45]\d\d|` +
		`nicht (?:\S+ ){0,4}?(?:zugestellt|zustell|gesendet|ausgeliefert)|unzustellbar|zustellung (?:\S+ ){0,6}?(?:fehl|nicht)|n'a pas pu|n'ont pas pu|pas [ée]t[ée] (?:remis|distribu|achemin)|impossible de (?:remettre|distribuer|livrer)|` +
		`non (?:è stato|e' stato|è stata|sono stat|può|è possibile)|no (?:se )?(?:pudo|ha podido|puede|fue) |n[ãa]o (?:p[ôo]de|foi|pode)|niet (?:\S+ ){0,4}?(?:bezorgd|afgeleverd)|не может быть|не удалось|не доставлен|не был|` +
		`送信できません|配信できません|配送できません|配信に失敗|送信に失敗|送信されません|送れません|届けられません|届きません|お届けできません|配達できません|見つかりません|エラー|無法|无法|退信|失败`)
	autoReply = regexp.MustCompile(`(?i)out of (?:the )?office|auto(?:matic|matische)?[- ]?(?:reply|response|antwort|respuesta)|vacation|abwesen|on (?:annual )?leave|ferien|absence|réponse automatique|risposta automatica|thank you for (?:your|contacting)|read:|gelesen:|ticket (?:received|created|opened)|challenge`)
	delayed   = regexp.MustCompile(`(?i)delay|warning|still being retried|will (?:be )?(?:retr|keep trying|continue)|verzöger|retard|ritard|遅延`)
	late      = regexp.MustCompile(`delay|verzöger|retard|ritard|遅延`)
	pastHours = regexp.MustCompile(`(?i)could not (?:be )?sen[dt] (?:\S+ )?for (?:the )?past [\d.]+ (?:minute|hour|day)`)
	trying    = regexp.MustCompile(`(?:not|n't) (?:need to |have to )?re-?send|still (?:trying|being retried|queued)|will (?:be retried|keep trying|continue (?:to|trying)|retry|be re-?attempted|try again)|delayed for|has been delayed|temporary (?:failure report|problem)|transient non-fatal errors|warning message only|this is (?:only )?a warning|not yet been delivered|delivery attempts will continue|(?:has not|hasn't) been delivered yet|noch nicht zugestellt|wird weiter(?:hin)? versucht|weitere zustellversuche|sera réessayée|pas encore été (?:remis|distribu)|non è (?:stato )?ancora (?:stat[oa] )?(?:recapitat|consegnat)|再送を試み|попытки доставки будут`)
	gaveUp    = regexp.MustCompile(`giv(?:en|ing) up|not going to try|no further (?:delivery )?attempts|permanent (?:error|failure)|failed permanently|has been returned|no longer|will not be (?:retried|delivered)|could not be delivered for \d`)
)

func isDaemon(local string) bool { return daemonName.MatchString(local) }

// isBounce weighs the signs. One from the sender and one from the text are
// compulsory.
func (m *material) isBounce() bool {
	subject := m.head.Text("Subject")
	if autoReply.MatchString(subject) {
		return false
	}
	failedHeader := m.head.Get("X-Failed-Recipients") != ""
	text := notDelivered.MatchString(squeeze(m.text))
	reply, status := codes(m.text)
	if failedHeader || len(m.fields) > 0 {
		return text || reply > 0 || status != "" || m.returned
	}
	sender := senderWeight(m.head)
	if sender == 0 || !text && reply == 0 && status == "" {
		return false
	}
	weight := sender
	if subjects.MatchString(subject) {
		weight += 2
	}
	if text {
		weight += 2
	}
	if reply >= 400 || status != "" && status[0] != '2' {
		weight++
	}
	if m.returned {
		weight++
	}
	return weight >= 5
}

// senderWeight tells how much the sender looks like a mail system.
func senderWeight(h *mail.Header) int {
	weight := 0
	from := h.Get("From")
	list := mail.Addresses(from)
	switch {
	case strings.Trim(from, "<> ") == "" && h.Get("Subject") != "", daemonName.MatchString(h.Text("From")):
		weight = 2
	case len(list) > 0 && isDaemon(list[0].Local):
		weight = 2
	}
	if path, ok := first(h, "Return-Path"); ok {
		if inner := strings.Trim(path, "<> "); inner == "" || daemonName.MatchString(inner) {
			weight = max(weight+1, 2)
		}
	}
	return weight
}

func first(h *mail.Header, name string) (string, bool) {
	all := h.All(name)
	if len(all) == 0 {
		return "", false
	}
	return all[0], true
}

// saysDelayed tells a warning from a failure.
func saysDelayed(subject, text string) bool {
	said := squeeze(text)
	if gaveUp.MatchString(said) {
		return false
	}
	return trying.MatchString(said) || pastHours.MatchString(subject) || delayed.MatchString(subject) && late.MatchString(said)
}
