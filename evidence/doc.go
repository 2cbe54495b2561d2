// Package evidence writes and verifies the evidence bundle (Nachweisdossier,
// docs/evidence.md): one ZIP for one delivery case, which proves years later,
// without this gateway and after the content was erased, what was sent, what
// the platform confirmed, and when the gateway had all that.
//
// A bundle holds the platform's receipts byte for byte. Everything else in it is
// the gateway's own record: help, never binding, and no receipt itself. A
// manifest names every file with its SHA-256; a detached CAdES signature seals
// the manifest, and a time stamp (RFC 3161) over the signature value lies in it
// (ETSI EN 319 122-1, level B-T).
//
// Writing streams: memory holds one receipt at a time, never the message.
// Verifying is offline and takes hostile input: every length is bounded, and
// what is not in the manifest is refused by name.
package evidence

// Names of files in a bundle. The receipts lie in a folder of their own.
const (
	FileReadme   = "README.txt"
	FileEvidence = "evidence.json"
	FileTimeline = "timeline.pdf"
	FileReports  = "signature-report.json"
	FileMessage  = "message.eml"
	FileManifest = "MANIFEST.sha256"
	FileSeal     = "gateway.p7s"
	FileStamp    = "tst.tsr"

	folderReceipts   = "receipts/"
	folderRevocation = "revocation/"
	folderAudit      = "audit/"
)

// Schema names the form of evidence.json; firstSchema is the one of bundles whose
// stamp lies beside the seal. Both are verified.
const (
	Schema      = "gatewayd-evidence/2"
	firstSchema = "gatewayd-evidence/1"
)

// PolicyID names the rules by which bundles are made and verified.
const PolicyID = "gatewayd-nachweisdossier/2"
