/* limits.h - /limits: how policies decide, whom they refuse most, and how it stands with one key.
 *
 * Keys are shown as the 16 hex digits of their hash, as in the access log (key.hash); a value is
 * never shown, but may be asked for. */
#ifndef ADMIN_LIMITS_H
#define ADMIN_LIMITS_H

#include "core/service.h"

/* GET /limits: {"limits":[...]}, each policy that has a limit as GET /limits/POLICY shows it; `top` only if it is
 * asked for. */
service_page limits_show;
/* GET /limits/POLICY?top=20: {"policy":...,"kind":"rate","key":"client.ip","shadow":false,
 * "resettable":true,"allow":1,"deny":2,"shadow_deny":0,"skip":0,"keys":3,"window":312.5,
 * "top":[{"hash":...,"refused":9,"error":0}]}; window: seconds that `refused` is of.
 * GET /limits/POLICY/key?value=V (one `value` for each part of the key) or ?hash=H: {"policy":...,"hash":...,
 * "limit":5,"remaining":3,"reset":2.5}. */
service_page limit_show;
/* DELETE /limits/POLICY/key, the same: it has all again; answers as GET does. */
service_page limit_reset;

#endif
