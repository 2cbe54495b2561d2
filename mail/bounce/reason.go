package bounce

import "strings"

// Reason is the category of what went wrong, told by the words and codes of
// the report. It guides people; nothing legal hangs on it.
type Reason string

// The reasons.
const (
	UserUnknown     Reason = "user_unknown"     // no such mailbox
	UserMoved       Reason = "user_moved"       // mailbox moved elsewhere
	MailboxFull     Reason = "mailbox_full"     // over quota
	MailboxDisabled Reason = "mailbox_disabled" // suspended, inactive
	HostUnknown     Reason = "host_unknown"     // no such domain
	NoMailService   Reason = "no_mail_service"  // the domain takes no mail
	Network         Reason = "network"          // no connection, loop, routing
	Expired         Reason = "expired"          // tried until the time was over
	TooLarge        Reason = "too_large"        // beyond a size limit
	Spam            Reason = "spam"             // content taken for spam
	Blocked         Reason = "blocked"          // sending host or network refused
	RateLimited     Reason = "rate_limited"     // too many messages or connections
	AuthFailure     Reason = "auth_failure"     // SPF, DKIM, DMARC
	SenderRejected  Reason = "sender_rejected"  // the sender's address refused
	Relaying        Reason = "relaying"         // the host does not relay
	Content         Reason = "content"          // virus, attachment, form of the message
	Policy          Reason = "policy"           // refused by rule, no better word
	System          Reason = "system"           // trouble inside the recipient's system
	Protocol        Reason = "protocol"         // misunderstood command
	Undefined       Reason = "undefined"
)

// phrases are the words that tell a reason, in lower case, the more telling
// reasons first.
var phrases = []struct {
	reason Reason
	words  []string
}{
	{AuthFailure, []string{
		"dmarc", "dkim", "spf ", "spf=", "spf:", "sender policy framework", "not authorized to send", "unauthenticated email", "not authenticated", "email authentication",
		"does not designate", "authentication checks", "authentication required", "sender authentication",
	}},
	{Relaying, []string{"relay denied", "relaying denied", "relay access denied", "unable to relay", "not permitted to relay", "relaying not", "not allowed to relay", "relay not permitted", "no relay", "we do not relay", "relay prohibited", "open relay"}},
	{MailboxFull, []string{
		"mailbox full", "mailbox is full", "mail box is full", "mail box full", "over quota", "overquota", "quota exceeded", "exceeded quota", "quota exceed", "exceeded storage", "exceeds allowed size", "exceed mailbox quota",
		"mailfolder is full", "mailbox exceeded", "disk quota", "inbox is full", "too full", "storage limit", "out of storage", "mailbox size limit", "insufficient mailbox space", "user's disk space",
		"maildir over", "mailbox over", "out of disk space", "postfach ist voll", "postfach voll", "speicherplatz", "boîte pleine", "boite pleine", "boîte aux lettres pleine", "quota dépassé", "buzón lleno", "casella piena", "caixa cheia",
		"ящик переполнен", "почтовый ящик заполнен", "満杯", "容量を超え", "容量オーバー", "容量制限", "郵箱已滿", "邮箱已满", "空间不足", "容量を超過", "full mailbox", "user has exceeded", "mail quota", "quotacheck", "quota usage", "diskspace quota", "storage quota", "enough storage", "allowed storage", "speichervolumen",
	}},
	{TooLarge, []string{
		"message size exceeds", "message too large", "message is too large", "message too big", "message file too big", "exceeds size limit", "maximum message size", "size limit exceeded", "exceeds the maximum", "too large",
		"larger than the", "message length exceeds", "exceeds fixed maximum", "nachricht ist zu groß", "zu gross", "message trop volumineux", "サイズが大き", "サイズの上限", "слишком большой размер", "mesg too big", "data size exceeds",
	}},
	{UserMoved, []string{"has moved", "user moved", "address has changed", "no longer at this", "please update your address", "has been replaced by", "new address", "adresse a changé", "neue adresse", "has been migrated"}},
	{MailboxDisabled, []string{
		"account is disabled", "account disabled", "account has been disabled", "account that you tried to reach is disabled", "mailbox disabled", "mailbox is disabled", "mailbox unavailable or access denied", "is inactive", "inactive on", "inactive user", "inactive account",
		"account inactive", "suspend", "account is locked", "mailbox locked", "discontinued", "deactivated", "has been blocked", "user is blocked", "mailbox is blocked", "not active", "account closed", "mailbox is inactive", "currently disabled", "temporarily disabled", "mailbox frozen",
		"conta desativada", "compte désactivé", "konto gesperrt", "deaktiviert", "временно заблокирован", "停止", "停用", "account expired", "mailbox currently suspended",
	}},
	{Expired, []string{
		"retry timeout exceeded", "retry time not reached for any host after a long failure", "envelope expired", "message expired", "delivery time expired", "could not be delivered for", "in the queue too long", "delivery timed out", "message timed out", "retry timeout", "retries exceeded",
		"maximum retry", "maximum queue lifetime", "unable to deliver message for", "has been in the queue", "not delivered within", "expired", "exceeded the maximum time", "delivery attempts timed out",
		"gave up", "queue lifetime", "timed out while", "warteschlange", "délai dépassé", "истек", "期限",
	}},
	{NoMailService, []string{
		"null mx", "nullmx", "no smtp service", "does not accept mail", "doesn't accept mail", "does not accept email", "do not accept mail", "no mx record found", "mail receiving disabled", "not accept mail from any", "is not accepting mail", "no mail server", "does not receive mail",
		"smtp protocol violation", "name server loop", "cannot accept mail",
	}},
	{HostUnknown, []string{
		"host unknown", "unknown host", "domain does not exist", "domain not found", "host not found", "unrouteable address", "unroutable", "unrouteable domain", "unrouteable mail domain", "couldn't find any host named", "could not find any host", "name or service not known", "nxdomain",
		"no such domain", "unknown domain", "domain is not reachable", "domain must exist", "name server: host", "recipient address rejected: domain", "bad destination system address", "bad destination host", "no such host", "no dns entry", "missing the proper dns entries", "domain does not exists",
		"hostname lookup failed", "dns error", "does not exist in dns", "all relevant mx records point to non-existent hosts", "domain name not found", "unresolvable", "invalid domain", "domäne", "домен не", "ドメイン", "domain isn't in my list", "host or domain name not found",
	}},
	{UserUnknown, []string{
		"user unknown", "unknown user", "no such user", "user not found", "recipient not found", "does not exist", "doesn't exist", "no mailbox", "unknown recipient", "recipient unknown", "no such mailbox", "mailbox not found", "mailbox unavailable", "invalid recipient", "invalid user", "unknown address",
		"address unknown", "unknown local", "no such recipient", "not a valid", "not our customer", "unrecognized address", "recipient name is not recognized", "not listed in", "user doesn't have", "this user doesn't have", "account not found", "no account", "invalid mailbox", "bad destination mailbox",
		"unknown account", "not a known user", "isn't a known", "unknown or illegal", "illegal user", "no longer available", "email address could not be found", "couldn't be found", "wasn't found", "nonexistent", "non-existent", "not exist", "undeliverable address", "recipient address rejected", "recipient rejected",
		"no user", "user not exist", "invalid final delivery userid", "unknown mailbox", "invalid address", "bad address", "unable to find recipient", "no one here by that name", "addressee unknown", "unrecognised-or-name", "unrecognized-or-name", "unable-to-find", "unrecognized recipient", "not known here", "unknown alias", "no valid recipients", "mailbox does not", "delivery to this user",
		"unbekannter empfänger", "empfänger unbekannt", "unbekannt", "existiert nicht", "kein benutzer", "nicht gefunden", "inconnu", "n'existe pas", "inexistant", "desconocid", "no existe", "sconosciuto", "inesistente", "não existe", "onbekend", "finns inte", "nie istnieje",
		"не существует", "пользователь не найден", "неизвестный", "見つかりません", "存在しま", "該当する", "宛先不明", "リストにありません", "不存在", "查无此", "존재하지",
	}},
	{Blocked, []string{"spamhaus", "spamcop", "dnsbl"}},
	{Spam, []string{"spam", "junk mail", "unsolicited", "bulk mail", "blacklisted url", "content filter", "message content rejected", "looks like uce", "dspam", "suspicious content", "迷惑メール", "垃圾"}},
	{Blocked, []string{
		"blacklist", "blocklist", "block list", "black list", "rbl", "dnsbl", "blocked", "reputation", "ptr record", "reverse dns", "rdns", "banned sending ip", "access denied", "no ptr", "bad helo", "ip address", "poor reputation", "client host rejected", "cannot find your hostname", "fcrdns", "your ip", "invalid ip", "spamhaus",
		"not accepting mail from", "denied by policy", "connection refused by policy", "sc-00", "unfortunately, messages from", "client host", "dynamic ip", "generic ptr", "greylist", "graylist",
	}},
	{Network, []string{"too many hops", "hop count", "loops back", "mail loop", "forwarding loop", "maximum hop"}},
	{RateLimited, []string{"too many", "too quickly", "too frequently", "rate limit", "throttl", "too fast", "sending rate", "connection rate", "rate exceeded", "max message", "exceeded the limit", "deferred due to", "limit exceeded", "slow down", "frequency", "quota of messages", "daily limit", "hourly limit", "connections from your"}},
	{SenderRejected, []string{
		"sender address rejected", "sender rejected", "sender denied", "from address", "sender verify failed", "invalid sender", "from: domain is invalid", "envelope sender", "mail from", "sender domain", "sender not", "sender is", "you are not allowed", "not allowed to send", "backscatter", "sender unknown", "null sender",
		"return address", "bad sender", "sending to/from an address", "absender",
	}},
	{Content, []string{"virus", "malware", "attachment", "header error", "banned", "rfc 5322", "rfc5322", "rfc 2822", "non-rfc", "not compliant", "not rfc", "mime", "bare lf", "bare cr", "8bit", "content rejected", "phishing", "message-id", "invalid header", "header line", "missing header", "headers", "malformed"}},
	{System, []string{
		"local configuration error", "local error", "system error", "internal error", "server error", "file system full", "no space left", "insufficient system", "system storage", "resources temporarily", "try again later", "mailer error", "command died", "pipe to", "queue file write", "out of memory", "ldap", "temporarily unavailable",
		"service unavailable", "service not available", "unexpected error", "can't create output", "i/o error", "system not", "temporary failure", "configuration", "generated by", "permission denied", "procmail", "maildrop",
	}},
	{Network, []string{"connection refused", "connection timed out", "timed out", "timeout", "no route to host", "network unreachable", "network is unreachable", "connection reset", "lost connection", "unable to connect", "could not connect", "establish an smtp connection", "not responding", "network error", "connection dropped", "starttls", "tls", "unreachable", "connection lost", "no smtp connection", "remote host is not"}},
	{Policy, []string{"policy", "not allowed", "rejected", "denied", "prohibited", "refused", "administrative", "not permitted", "security", "not accept", "forbidden", "restricted", "拒否", "拒绝", "abgelehnt", "refusé"}},
	{Protocol, []string{"syntax error", "bad sequence", "command not", "unrecognized command", "protocol error", "parameter"}},
}

// byStatus gives the reason of a status code (RFC 3463 section 3), without
// its class.
var byStatus = map[string]Reason{
	".1.0": UserUnknown, ".1.1": UserUnknown, ".1.2": HostUnknown, ".1.3": UserUnknown, ".1.4": UserUnknown, ".1.6": UserMoved, ".1.7": SenderRejected, ".1.8": SenderRejected, ".1.9": Network, ".1.10": NoMailService,
	".2.0": UserUnknown, ".2.1": MailboxDisabled, ".2.2": MailboxFull, ".2.3": TooLarge, ".2.4": System,
	".3.0": System, ".3.1": System, ".3.2": System, ".3.3": Protocol, ".3.4": TooLarge, ".3.5": System,
	".4.0": Network, ".4.1": Network, ".4.2": Network, ".4.3": System, ".4.4": HostUnknown, ".4.5": RateLimited, ".4.6": System, ".4.7": Expired, ".4.310": HostUnknown, ".4.312": HostUnknown, ".4.316": Network,
	".5.0": Protocol, ".5.1": Protocol, ".5.2": Protocol, ".5.3": RateLimited, ".5.4": Protocol, ".5.5": Protocol, ".6.0": Content, ".6.1": Content, ".6.3": Content, ".6.5": Content,
	".7.0": Policy, ".7.1": Policy, ".7.8": AuthFailure, ".7.9": AuthFailure, ".7.20": AuthFailure, ".7.21": AuthFailure, ".7.22": AuthFailure, ".7.23": AuthFailure, ".7.24": AuthFailure, ".7.25": Blocked, ".7.26": AuthFailure, ".7.27": NoMailService,
}

// sure are the status codes whose meaning is kept in practice; of others the
// words tell more.
var sure = map[string]bool{".2.2": true, ".3.4": true, ".4.7": true, ".7.20": true, ".7.23": true, ".7.24": true, ".7.25": true, ".7.26": true, ".7.27": true}

// reasonOf finds the reason in words and codes.
func reasonOf(said, status string, reply int) Reason {
	subject := ""
	if status != "" {
		subject = status[1:]
	}
	if sure[subject] {
		return byStatus[subject]
	}
	text := squeeze(said)
	for _, p := range phrases {
		for _, word := range p.words {
			if strings.Contains(text, word) {
				return p.reason
			}
		}
	}
	if r, ok := byStatus[subject]; ok {
		return r
	}
	switch reply {
	case 452, 552:
		return MailboxFull
	case 550, 551:
		return UserUnknown
	case 421, 450, 451:
		return System
	case 553, 554:
		return Policy
	}
	if reply >= 500 && reply < 520 {
		return Protocol
	}
	return Undefined
}
