// Bouncy Castle as a counterpart in the matrix of docs/crypto.md. It reads one command a line and
// answers "ok" or "no" with a reason. All files are DER, keys PKCS #8.
import java.io.*;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.security.spec.*;
import java.util.*;
import javax.crypto.spec.*;
import org.bouncycastle.asn1.*;
import org.bouncycastle.asn1.pkcs.*;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cert.jcajce.*;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.*;
import org.bouncycastle.operator.jcajce.*;

public class Peer {
    static byte[] read(String f) throws Exception { return Files.readAllBytes(Paths.get(f)); }
    static void write(String f, byte[] b) throws Exception { Files.write(Paths.get(f), b); }

    static X509Certificate cert(String who) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509", "BC").generateCertificate(new ByteArrayInputStream(read(who + ".der")));
    }

    static PrivateKey key(String who) throws Exception {
        PrivateKeyInfo info = PrivateKeyInfo.getInstance(read(who + ".p8"));
        return BouncyCastleProvider.getPrivateKey(info);
    }

    // sign WHO ALGORITHM attached|detached
    static void sign(String[] a) throws Exception {
        CMSSignedDataGenerator g = new CMSSignedDataGenerator();
        ContentSigner s = new JcaContentSignerBuilder(a[2]).setProvider("BC").build(key(a[1]));
        g.addSignerInfoGenerator(new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().setProvider("BC").build()).build(s, cert(a[1])));
        g.addCertificates(new JcaCertStore(List.of(cert(a[1]))));
        write("signed", g.generate(new CMSProcessableByteArray(read("content")), a[3].equals("attached")).getEncoded());
    }

    // verify WHO attached|detached
    static void verify(String[] a) throws Exception {
        CMSSignedData d = a[2].equals("detached") ? new CMSSignedData(new CMSProcessableByteArray(read("content")), read("signed")) : new CMSSignedData(read("signed"));
        for (SignerInformation s : d.getSignerInfos().getSigners()) {
            if (!s.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider("BC").build(cert(a[1])))) throw new Exception("does not verify");
        }
        if (a[2].equals("attached")) write("got", (byte[]) d.getSignedContent().getContent());
    }

    static RecipientInfoGenerator recipient(String[] a) throws Exception {
        X509Certificate c = cert(a[1]);
        if (a[3].equals("v15")) return new JceKeyTransRecipientInfoGenerator(c).setProvider("BC");
        if (a[3].startsWith("SHA")) {
            AlgorithmIdentifier id = new JcaAlgorithmParametersConverter().getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP,
                new OAEPParameterSpec(a[3], "MGF1", new MGF1ParameterSpec(a[3]), PSource.PSpecified.DEFAULT));
            return new JceKeyTransRecipientInfoGenerator(c, id).setProvider("BC");
        }
        KeyPairGenerator g = KeyPairGenerator.getInstance(a[3].equals("X25519") ? "X25519" : "EC", "BC");
        if (!a[3].equals("X25519")) g.initialize(((java.security.interfaces.ECPublicKey) c.getPublicKey()).getParams());
        KeyPair p = g.generateKeyPair();
        return new JceKeyAgreeRecipientInfoGenerator(CMSAlgorithm.ECDH_SHA256KDF, p.getPrivate(), p.getPublic(), CMSAlgorithm.AES256_WRAP).addRecipient(c).setProvider("BC");
    }

    static final Map<String, ASN1ObjectIdentifier> CIPHERS = Map.of(
        "AES-128-CBC", CMSAlgorithm.AES128_CBC, "AES-192-CBC", CMSAlgorithm.AES192_CBC, "AES-256-CBC", CMSAlgorithm.AES256_CBC,
        "AES-128-GCM", CMSAlgorithm.AES128_GCM, "AES-192-GCM", CMSAlgorithm.AES192_GCM, "AES-256-GCM", CMSAlgorithm.AES256_GCM,
        "DES-EDE3-CBC", CMSAlgorithm.DES_EDE3_CBC);

    // encrypt WHO CIPHER v15|SHA-…|EC|X25519
    static void encrypt(String[] a) throws Exception {
        OutputEncryptor e = new JceCMSContentEncryptorBuilder(CIPHERS.get(a[2])).setProvider("BC").build();
        CMSProcessableByteArray content = new CMSProcessableByteArray(read("content"));
        if (a[2].endsWith("GCM")) {
            CMSAuthEnvelopedDataGenerator g = new CMSAuthEnvelopedDataGenerator();
            g.addRecipientInfoGenerator(recipient(a));
            write("sealed", g.generate(content, (OutputAEADEncryptor) e).getEncoded());
            return;
        }
        CMSEnvelopedDataGenerator g = new CMSEnvelopedDataGenerator();
        g.addRecipientInfoGenerator(recipient(a));
        write("sealed", g.generate(content, e).getEncoded());
    }

    // decrypt WHO CIPHER v15|SHA-…|EC|X25519
    static void decrypt(String[] a) throws Exception {
        boolean transport = a[3].equals("v15") || a[3].startsWith("SHA"), gcm = a[2].endsWith("GCM");
        RecipientInformationStore all = gcm ? new CMSAuthEnvelopedData(read("sealed")).getRecipientInfos() : new CMSEnvelopedData(read("sealed")).getRecipientInfos();
        PrivateKey k = key(a[1]);
        if (gcm && !transport) throw new Exception("not offered"); // as of 1.72
        Recipient r = transport
            ? (gcm ? new JceKeyTransAuthEnvelopedRecipient(k).setProvider("BC") : new JceKeyTransEnvelopedRecipient(k).setProvider("BC"))
            : new JceKeyAgreeEnvelopedRecipient(k).setProvider("BC");
        write("got", all.getRecipients().iterator().next().getContent(r));
    }

    // compress
    static void compress() throws Exception {
        CMSCompressedDataGenerator g = new CMSCompressedDataGenerator();
        write("packed", g.generate(new CMSProcessableByteArray(read("content")), new org.bouncycastle.cms.jcajce.ZlibCompressor()).getEncoded());
    }

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            String[] a = line.split(" ");
            try {
                switch (a[0]) {
                case "sign": sign(a); break;
                case "verify": verify(a); break;
                case "encrypt": encrypt(a); break;
                case "decrypt": decrypt(a); break;
                case "compress": compress(); break;
                default: throw new Exception("command " + a[0]);
                }
                System.out.println("ok");
            } catch (Throwable e) {
                System.out.println("no " + String.valueOf(e).replace('\n', ' '));
            }
            System.out.flush();
        }
    }
}
