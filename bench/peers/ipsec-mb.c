/* Intel's IPsec MB library as a yardstick of `ravelin-bench crypto --beside ipsec-mb`: whole ESP operations in bursts,
 * measured in windows that the bench asks for, one line each.
 *
 *   case SUITE KEYMAT KEYS STRIDE OFFSET LENGTH,...   -> ready VERSION SEALING-INTERFACE OPENING-INTERFACE, or: no REASON
 *   window CALLS SEQ                                  -> clocks of sealing and of opening, all calls together
 *   seal SEQ                                          -> the burst in hexadecimal, one packet a line
 *   open SEQ, and so many packets one a line          -> yes, or: no REASON
 *
 * A packet lies where the bench's own would. An operation is header, IV, padding, trailer, encryption and ICV; the other way
 * round the ICV is compared, then the padding. Of the library's interfaces the one that is fastest on this machine is used,
 * by suite, sizes and direction. Extended sequence numbers are not used: SPI and number are what is authenticated besides.
 */
#include <intel-ipsec-mb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define MOST 128 /* packets of a burst: IMB_MAX_BURST_SIZE */
#define SPI 0x1000u
#define NEXT_HEADER 4
#define PAGE 4096

enum interface { DIRECT, JOBS, BURSTS, INTERFACES };
static const char *const NAMES[] = {"direct calls", "burst of jobs", "cipher and hash bursts"};

struct suite {
	const char *name;
	IMB_CIPHER_MODE cipher;
	IMB_HASH_ALG hash;
	unsigned key, mac_key, iv, icv, block;
};
static const struct suite SUITES[] = {
	{"aes-128-gcm", IMB_CIPHER_GCM, IMB_AUTH_AES_GMAC, 16, 0, 8, 16, 4},
	{"aes-192-gcm", IMB_CIPHER_GCM, IMB_AUTH_AES_GMAC, 24, 0, 8, 16, 4},
	{"aes-256-gcm", IMB_CIPHER_GCM, IMB_AUTH_AES_GMAC, 32, 0, 8, 16, 4},
	{"chacha20-poly1305", IMB_CIPHER_CHACHA20_POLY1305, IMB_AUTH_CHACHA20_POLY1305, 32, 0, 8, 16, 4},
	{"aes-128-cbc-hmac-sha1-96", IMB_CIPHER_CBC, IMB_AUTH_HMAC_SHA_1, 16, 20, 16, 12, 16},
	{"aes-256-cbc-hmac-sha1-96", IMB_CIPHER_CBC, IMB_AUTH_HMAC_SHA_1, 32, 20, 16, 12, 16},
	{"aes-128-cbc-hmac-sha2-256", IMB_CIPHER_CBC, IMB_AUTH_HMAC_SHA_256, 16, 32, 16, 16, 16},
	{"aes-256-cbc-hmac-sha2-256", IMB_CIPHER_CBC, IMB_AUTH_HMAC_SHA_256, 32, 32, 16, 16, 16},
};

struct key {
	struct gcm_key_data gcm;
	_Alignas(16) uint32_t encrypt[60], decrypt[60];
	uint8_t raw[32], salt[4];
	_Alignas(16) uint8_t inner[32], outer[32];
};

struct packet {
	uint8_t *at;
	unsigned payload, body; /* `body`: payload, padding and trailer */
};

static IMB_MGR *mb;
static const struct suite *suite;
static struct key *keys;
static unsigned key_count, count;
static uint8_t *memory;
static struct packet packets[MOST];
static uint8_t nonces[MOST][16], icvs[MOST][32];
static uint64_t chance = 0x9e3779b97f4a7c15;

static unsigned body_at(void) { return 8 + suite->iv; }
static unsigned sealed(const struct packet *p) { return body_at() + p->body + suite->icv; }

/* CBC's IVs: cheap ones. A gateway's must not be guessed, which costs more; so this is to the library's advantage. */
static uint64_t draw(void)
{
	chance ^= chance << 13;
	chance ^= chance >> 7;
	return chance ^= chance << 17;
}

/* All headers and trailers of a burst first: what was just written in parts is not read as a whole right after. */
static void frame(uint64_t seq)
{
	for (unsigned n = 0; n < count; n++, seq++) {
		struct packet *p = &packets[n];
		uint64_t head = __builtin_bswap64((uint64_t)SPI << 32 | (seq & 0xffffffff)), iv = __builtin_bswap64(seq);
		memcpy(p->at, &head, 8);
		if (suite->iv == 8) {
			memcpy(p->at + 8, &iv, 8);
			memcpy(nonces[n], keys[n % key_count].salt, 4);
			memcpy(nonces[n] + 4, &iv, 8);
		} else {
			uint64_t random[2] = {draw(), draw()};
			memcpy(p->at + 8, random, 16);
		}
		uint8_t *end = p->at + body_at() + p->payload;
		unsigned pad = p->body - p->payload - 2;
		for (unsigned i = 0; i < pad; i++)
			end[i] = (uint8_t)(i + 1);
		end[pad] = (uint8_t)pad;
		end[pad + 1] = NEXT_HEADER;
	}
}

static void nonces_of_packets(void)
{
	for (unsigned n = 0; n < count && suite->iv == 8; n++) {
		memcpy(nonces[n], keys[n % key_count].salt, 4);
		memcpy(nonces[n] + 4, packets[n].at + 8, 8);
	}
}

static bool authentic(void)
{
	unsigned wrong = 0;
	for (unsigned n = 0; n < count; n++) {
		const uint8_t *icv = packets[n].at + body_at() + packets[n].body;
		for (unsigned i = 0; i < suite->icv; i += 4) {
			uint32_t a, b;
			memcpy(&a, icv + i, 4);
			memcpy(&b, icvs[n] + i, 4);
			wrong |= a ^ b;
		}
	}
	return wrong == 0;
}

static bool padded(void)
{
	for (unsigned n = 0; n < count; n++) {
		const uint8_t *end = packets[n].at + body_at() + packets[n].body;
		unsigned pad = end[-2];
		if (pad + 2 > packets[n].body || end[-1] != NEXT_HEADER)
			return false;
		for (unsigned i = 1; i <= pad; i++)
			if (end[-2 - (int)(pad + 1 - i)] != i)
				return false;
	}
	return true;
}

static void direct(bool seal)
{
	struct gcm_context_data context;
	for (unsigned n = 0; n < count; n++) {
		const struct packet *p = &packets[n];
		const struct gcm_key_data *key = &keys[n % key_count].gcm;
		uint8_t *body = p->at + body_at(), *icv = seal ? body + p->body : icvs[n];
		if (suite->key == 16 && seal)
			IMB_AES128_GCM_ENC(mb, key, &context, body, body, p->body, nonces[n], p->at, 8, icv, 16);
		else if (suite->key == 16)
			IMB_AES128_GCM_DEC(mb, key, &context, body, body, p->body, nonces[n], p->at, 8, icv, 16);
		else if (suite->key == 24 && seal)
			IMB_AES192_GCM_ENC(mb, key, &context, body, body, p->body, nonces[n], p->at, 8, icv, 16);
		else if (suite->key == 24)
			IMB_AES192_GCM_DEC(mb, key, &context, body, body, p->body, nonces[n], p->at, 8, icv, 16);
		else if (seal)
			IMB_AES256_GCM_ENC(mb, key, &context, body, body, p->body, nonces[n], p->at, 8, icv, 16);
		else
			IMB_AES256_GCM_DEC(mb, key, &context, body, body, p->body, nonces[n], p->at, 8, icv, 16);
	}
}

static void describe(IMB_JOB *job, unsigned n, bool seal)
{
	const struct packet *p = &packets[n];
	struct key *key = &keys[n % key_count];
	job->src = p->at;
	job->dst = p->at + body_at();
	job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = body_at();
	job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = p->body;
	job->auth_tag_output = seal ? p->at + body_at() + p->body : icvs[n];
	job->auth_tag_output_len_in_bytes = suite->icv;
	job->cipher_mode = suite->cipher;
	job->hash_alg = suite->hash;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->key_len_in_bytes = suite->key;
	job->iv = nonces[n];
	job->iv_len_in_bytes = 12;
	if (suite->cipher == IMB_CIPHER_GCM) {
		/* Its own order: encrypting hashes after, decrypting before. */
		job->enc_keys = job->dec_keys = &key->gcm;
		job->u.GCM.aad = p->at;
		job->u.GCM.aad_len_in_bytes = 8;
	} else if (suite->cipher == IMB_CIPHER_CHACHA20_POLY1305) {
		job->enc_keys = job->dec_keys = key->raw;
		job->u.CHACHA20_POLY1305.aad = p->at;
		job->u.CHACHA20_POLY1305.aad_len_in_bytes = 8;
	} else {
		job->enc_keys = key->encrypt;
		job->dec_keys = key->decrypt;
		job->iv = p->at + 8;
		job->iv_len_in_bytes = 16;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = body_at() + p->body;
		job->u.HMAC._hashed_auth_key_xor_ipad = key->inner;
		job->u.HMAC._hashed_auth_key_xor_opad = key->outer;
	}
}

static bool jobs(bool seal)
{
	IMB_JOB *list[MOST];
	unsigned done = 0;
	if (IMB_GET_NEXT_BURST(mb, count, list) != count)
		return false;
	for (unsigned n = 0; n < count; n++)
		describe(list[n], n, seal);
	done = IMB_SUBMIT_BURST_NOCHECK(mb, count, list);
	while (done < count) {
		unsigned more = IMB_FLUSH_BURST(mb, count - done, list);
		if (more == 0)
			return false;
		done += more;
	}
	return true;
}

/* The synchronous interfaces of one algorithm each. */
static bool bursts(bool seal)
{
	static IMB_JOB list[MOST];
	for (unsigned n = 0; n < count; n++)
		describe(&list[n], n, seal);
	if (!seal && IMB_SUBMIT_HASH_BURST_NOCHECK(mb, list, count, suite->hash) != count)
		return false;
	if (IMB_SUBMIT_CIPHER_BURST_NOCHECK(mb, list, count, suite->cipher, seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT, suite->key) != count)
		return false;
	return !seal || IMB_SUBMIT_HASH_BURST_NOCHECK(mb, list, count, suite->hash) == count;
}

static bool cipher(enum interface by, bool seal)
{
	if (by == DIRECT)
		direct(seal);
	return by == DIRECT || (by == JOBS ? jobs(seal) : bursts(seal));
}

static bool seal_burst(enum interface by, uint64_t seq)
{
	frame(seq);
	return cipher(by, true);
}

static bool open_burst(enum interface by)
{
	nonces_of_packets();
	return cipher(by, false) && authentic() && padded();
}

/* Clocks of `calls` bursts each way, behind one that is not counted: caches are another's after a turn. */
static bool window(const enum interface by[2], unsigned calls, uint64_t seq, uint64_t clocks[2])
{
	clocks[0] = clocks[1] = 0;
	for (unsigned n = 0; n <= calls; n++, seq += count) {
		uint64_t start = __rdtsc();
		bool fine = seal_burst(by[0], seq);
		uint64_t between = __rdtsc();
		fine &= open_burst(by[1]);
		uint64_t end = __rdtsc();
		if (!fine)
			return false;
		if (n > 0)
			clocks[0] += between - start, clocks[1] += end - between;
	}
	return true;
}

static bool serves(enum interface by)
{
	return by == JOBS || suite->cipher == (by == DIRECT ? IMB_CIPHER_GCM : IMB_CIPHER_CBC);
}

/* The fastest of the library's interfaces, each way. */
static bool choose(enum interface best[2])
{
	uint64_t least[2] = {UINT64_MAX, UINT64_MAX};
	for (unsigned turn = 0; turn < 20; turn++)
		for (enum interface by = DIRECT; by < INTERFACES; by++) {
			uint64_t clocks[2];
			const enum interface both[2] = {by, by};
			if (!serves(by))
				continue;
			if (!window(both, 4, 1, clocks))
				return false;
			for (unsigned dir = 0; dir < 2; dir++)
				if (clocks[dir] < least[dir])
					least[dir] = clocks[dir], best[dir] = by;
		}
	return true;
}

static void pads(struct key *key, const uint8_t *secret)
{
	uint8_t block[2][64];
	for (unsigned i = 0; i < 64; i++) {
		uint8_t byte = i < suite->mac_key ? secret[i] : 0;
		block[0][i] = byte ^ 0x36;
		block[1][i] = byte ^ 0x5c;
	}
	if (suite->hash == IMB_AUTH_HMAC_SHA_1) {
		IMB_SHA1_ONE_BLOCK(mb, block[0], key->inner);
		IMB_SHA1_ONE_BLOCK(mb, block[1], key->outer);
	} else {
		IMB_SHA256_ONE_BLOCK(mb, block[0], key->inner);
		IMB_SHA256_ONE_BLOCK(mb, block[1], key->outer);
	}
}

/* `keymat`: cipher key, then salt or integrity key. */
static void expand(struct key *key, const uint8_t *keymat)
{
	memcpy(key->raw, keymat, suite->key);
	memcpy(key->salt, keymat + suite->key, 4);
	if (suite->key == 16) {
		IMB_AES_KEYEXP_128(mb, keymat, key->encrypt, key->decrypt);
		IMB_AES128_GCM_PRE(mb, keymat, &key->gcm);
	} else if (suite->key == 24) {
		IMB_AES_KEYEXP_192(mb, keymat, key->encrypt, key->decrypt);
		IMB_AES192_GCM_PRE(mb, keymat, &key->gcm);
	} else {
		IMB_AES_KEYEXP_256(mb, keymat, key->encrypt, key->decrypt);
		IMB_AES256_GCM_PRE(mb, keymat, &key->gcm);
	}
	if (suite->mac_key)
		pads(key, keymat + suite->key);
}

static int unhex(const char *text, uint8_t *out, unsigned most)
{
	unsigned n = 0;
	for (; text[2 * n] > ' '; n++)
		if (n == most || sscanf(text + 2 * n, "%2hhx", &out[n]) != 1)
			return -1;
	return (int)n;
}

static const char *lay_out(char *lengths, unsigned stride, unsigned offset)
{
	count = 0;
	for (char *rest = NULL, *word = strtok_r(lengths, ",\n", &rest); word; word = strtok_r(NULL, ",\n", &rest)) {
		if (count == MOST)
			return "more packets than a burst of the library";
		struct packet *p = &packets[count++];
		p->payload = (unsigned)atoi(word);
		p->body = (p->payload + 2 + suite->block - 1) / suite->block * suite->block;
		if (sealed(p) > stride)
			return "a packet is longer than its place";
	}
	free(memory);
	memory = aligned_alloc(PAGE, ((size_t)stride * count + 2 * PAGE) / PAGE * PAGE);
	if (!memory)
		return "no memory";
	memset(memory, 1, (size_t)stride * count + PAGE);
	for (unsigned n = 0; n < count; n++)
		packets[n].at = memory + offset + (size_t)n * stride;
	return NULL;
}

static const char *begin(const char *line, enum interface by[2])
{
	static char name[64], keymat[256], lengths[8192];
	uint8_t secret[128];
	unsigned stride, offset;
	if (sscanf(line, "case %63s %255s %u %u %u %8191s", name, keymat, &key_count, &stride, &offset, lengths) != 6 || key_count == 0)
		return "not understood";
	suite = NULL;
	for (unsigned n = 0; n < sizeof SUITES / sizeof *SUITES; n++)
		if (!strcmp(SUITES[n].name, name))
			suite = &SUITES[n];
	if (!suite)
		return "this program does not know the suite";
	if (unhex(keymat, secret, sizeof secret) != (int)(suite->key + (suite->mac_key ? suite->mac_key : 4)))
		return "key material of another length";
	free(keys);
	keys = aligned_alloc(64, key_count * ((sizeof *keys + 63) / 64 * 64));
	if (!keys)
		return "no memory";
	for (unsigned n = 0; n < key_count; n++)
		expand(&keys[n], secret);
	const char *why = lay_out(lengths, stride, offset);
	return why ? why : choose(by) ? NULL : "the library does not open what it sealed";
}

static void pattern(void)
{
	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; i < packets[n].payload; i++)
			packets[n].at[body_at() + i] = (uint8_t)(7 * i + n);
}

static void say_packets(void)
{
	for (unsigned n = 0; n < count; n++) {
		for (unsigned i = 0; i < sealed(&packets[n]); i++)
			printf("%02x", packets[n].at[i]);
		puts("");
	}
}

static const char *opened(enum interface by)
{
	static char line[1 << 15];
	for (unsigned n = 0; n < count; n++)
		if (!fgets(line, sizeof line, stdin) || unhex(line, packets[n].at, sealed(&packets[n])) != (int)sealed(&packets[n]))
			return "a packet has another length";
	if (!open_burst(by))
		return "a packet is not authentic";
	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; i < packets[n].payload; i++)
			if (packets[n].at[body_at() + i] != (uint8_t)(7 * i + n))
				return "a packet holds something else";
	return NULL;
}

int main(void)
{
	static char line[1 << 14];
	enum interface by[2] = {JOBS, JOBS};
	mb = alloc_mb_mgr(0);
	if (!mb)
		return 1;
	init_mb_mgr_auto(mb, NULL);
	while (fgets(line, sizeof line, stdin)) {
		unsigned calls;
		unsigned long long seq;
		uint64_t clocks[2];
		const char *why;
		if (!strncmp(line, "case ", 5)) {
			if ((why = begin(line, by)))
				printf("no %s\n", why), count = 0;
			else
				printf("ready\t%s\t%s\t%s\n", imb_get_version_str(), NAMES[by[0]], NAMES[by[1]]);
		} else if (sscanf(line, "window %u %llu", &calls, &seq) == 2 && window(by, calls, seq, clocks)) {
			printf("%llu %llu\n", (unsigned long long)clocks[0], (unsigned long long)clocks[1]);
		} else if (sscanf(line, "seal %llu", &seq) == 1) {
			pattern();
			if (seal_burst(by[0], seq))
				say_packets();
		} else if (!strncmp(line, "open", 4)) {
			why = opened(by[1]);
			printf(why ? "no %s\n" : "yes\n", why);
		} else {
			puts("no not understood, or a packet did not open");
		}
		fflush(stdout);
	}
	return 0;
}
