package legal

import (
	"slices"
	"strings"
	"time"

	"gatewayd/message"
)

// Entry is one thing that happened, in the terms of evidence (docs/law.md § 8).
// The platform's time and ours are never mixed.
type Entry struct {
	Code     Code      `json:"code"`
	Platform time.Time `json:"platform_time,omitzero"` // as the platform states it
	Gateway  time.Time `json:"gateway_time"`           // when we knew it
	Issuer   string    `json:"issuer"`
	Receipt  string    `json:"receipt,omitempty"` // id of the receipt
	Seq      uint64    `json:"audit_seq,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// trail gathers receipts, the gateway's own events and what was computed, by the
// time at which we knew them.
func (in Input) trail(versions []Version) []Entry {
	var list []Entry
	for _, e := range in.Events {
		if e.Item != 0 && e.Item != in.Item.Key.N || e.At.After(in.Now) {
			continue
		}
		if code, detail := codeOfEvent(e); code != "" {
			list = append(list, Entry{Code: code, Gateway: e.At, Issuer: MeaningOf(code).Issuer, Seq: e.Seq, Detail: detail})
		}
	}
	for _, r := range in.Receipts {
		if r.Item == in.Item.Key && !r.Received.After(in.Now) {
			list = append(list, entryOf(r))
		}
	}
	for _, v := range versions {
		if v.State == ServedByFiction {
			list = append(list, Entry{Code: FictionReached, Gateway: v.At, Issuer: "gateway", Detail: "computed, not binding: " + v.Service.Date.String()})
		}
	}
	slices.SortStableFunc(list, func(a, b Entry) int { return a.Gateway.Compare(b.Gateway) })
	return list
}

func entryOf(r message.Receipt) Entry {
	e := Entry{Code: codeOf(r.Kind), Platform: r.At, Gateway: r.Received, Issuer: r.Platform, Receipt: r.ID.String(), Detail: r.Detail}
	switch {
	case r.Verdict == message.Forged:
		e.Code = CodeInvalid
	case r.Verdict != message.Verified:
		e.Code = CodeUnverified
	case r.Mismatch != "":
		e.Code, e.Detail = EvidenceMismatch, r.Mismatch
	}
	if e.Code != codeOf(r.Kind) {
		e.Detail = string(r.Kind) + ": " + e.Detail
	}
	return e
}

// codeOfEvent says what a line of the audit log is in the terms of evidence; ""
// for what is no evidence.
func codeOfEvent(e message.Event) (code Code, detail string) {
	switch e.Kind {
	case message.EventAccepted:
		return GWAccepted, "sha256 " + e.Data["sha256"]
	case message.EventRefused:
		return GWRejected, ""
	case message.EventDecided:
		return GateConsent, "consent " + e.Data[keyConsent] + ", identified " + e.Data[keyIdentified]
	case message.EventHanded:
		return CodeHandedToPlatf, e.Data["via"]
	case message.EventBounced:
		if e.Data["action"] == "displayed" {
			return MDNDisplayed, "hint only"
		}
		return DSNFailed, "hint only: " + e.Data["status"]
	case message.EventStated:
		return CodeStated, "expects " + e.Data[keyExpects] + ", said by " + e.Data[KeyBy] + ": " + e.Data[KeyReason]
	case message.EventTaskClosed:
		return CodeTaskClosed, e.Data[KeyTask] + " by " + e.Data[KeyBy] + ": " + e.Data[KeyReason]
	case message.EventHandedOver:
		if d := message.Disposition(e.Data["disposition"]); d != "" && !d.Settles() {
			return "", "" // offered to the archive only
		}
		return CodeHandedOver, strings.TrimSpace(e.Data["by"] + " " + e.Data["file_ref"])
	case message.EventErased:
		return Destroyed, ""
	}
	return "", ""
}
