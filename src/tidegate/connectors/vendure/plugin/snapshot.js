'use strict';
/** From a loaded Order entity to the plain object that goes over the wire. Money stays in integer minor units. Pure. */

/** The relations that `orderSnapshot` reads, in groups whose rows do not multiply each other much. */
const SNAPSHOT_RELATIONS = [
    { customer: true, shippingLines: { shippingMethod: true }, surcharges: true },
    { lines: { productVariant: { translations: true } } },
    { payments: { refunds: { lines: true } } },
    { fulfillments: { lines: true } },
];

/** Return the order as Tidegate reads it; `encodeId` gives ids as the shop's Admin API shows them. */
function orderSnapshot(order, encodeId) {
    const id = value => (value === null || value === undefined ? null : String(encodeId(value)));
    const payments = byId(order.payments);
    return {
        id: id(order.id),
        code: order.code,
        state: order.state,
        orderPlacedAt: order.orderPlacedAt,
        updatedAt: order.updatedAt,
        currencyCode: order.currencyCode,
        subTotal: order.subTotal,
        subTotalWithTax: order.subTotalWithTax,
        shipping: order.shipping,
        shippingWithTax: order.shippingWithTax,
        total: order.total,
        totalWithTax: order.totalWithTax,
        taxSummary: order.taxSummary,
        couponCodes: order.couponCodes ?? [],
        customer: customerSnapshot(order.customer, id),
        shippingAddress: order.shippingAddress ?? null,
        billingAddress: order.billingAddress ?? null,
        shippingLines: byId(order.shippingLines).map(shippingLineSnapshot),
        lines: byId(order.lines).map(line => lineSnapshot(line, id)),
        surcharges: byId(order.surcharges).map(surchargeSnapshot),
        payments: payments.map(payment => paymentSnapshot(payment, id)),
        refunds: payments.flatMap(payment => byId(payment.refunds).map(refund => refundSnapshot(refund, payment, id))),
        fulfillments: byId(order.fulfillments).map(fulfillment => fulfillmentSnapshot(fulfillment, id)),
    };
}

function customerSnapshot(customer, id) {
    if (!customer) return null;
    const { firstName, lastName, emailAddress, phoneNumber } = customer;
    return { id: id(customer.id), email: emailAddress, firstName, lastName, phone: phoneNumber ?? null };
}

function shippingLineSnapshot(line) {
    return {
        methodCode: line.shippingMethod?.code ?? null,
        price: line.price,
        priceWithTax: line.priceWithTax,
        discountedPriceWithTax: line.discountedPriceWithTax,
    };
}

function lineSnapshot(line, id) {
    return {
        id: id(line.id),
        variantId: id(line.productVariantId),
        sku: line.productVariant?.sku ?? null,
        name: line.productVariant?.translations?.[0]?.name ?? null,
        quantity: line.quantity,
        orderPlacedQuantity: line.orderPlacedQuantity,
        unitPrice: line.unitPrice,
        unitPriceWithTax: line.unitPriceWithTax,
        linePriceWithTax: line.linePriceWithTax,
        proratedLinePriceWithTax: line.proratedLinePriceWithTax,
        taxRate: line.taxRate,
    };
}

function surchargeSnapshot(surcharge) {
    const { sku, description, price, priceWithTax } = surcharge;
    return { sku, description, price, priceWithTax };
}

function paymentSnapshot(payment, id) {
    const { state, amount, method, transactionId } = payment;
    return { id: id(payment.id), state, amount, method, transactionId: transactionId ?? null };
}

function refundSnapshot(refund, payment, id) {
    const { state, total, reason, method, transactionId } = refund;
    return {
        id: id(refund.id),
        paymentId: id(payment.id),
        state,
        total,
        reason: reason ?? null,
        method,
        transactionId: transactionId ?? null,
        lines: quantities(refund.lines, id),
    };
}

function fulfillmentSnapshot(fulfillment, id) {
    const { state, method, trackingCode, customFields } = fulfillment;
    return {
        id: id(fulfillment.id),
        state,
        method,
        trackingCode: trackingCode || null,
        reference: customFields?.tidegateRef ?? null,
        lines: quantities(fulfillment.lines, id),
    };
}

function quantities(references, id) {
    return byId(references).map(({ orderLineId, quantity }) => ({ orderLineId: id(orderLineId), quantity }));
}

/** Sort by id (numeric where it is), so that the same order always gives the same text. */
function byId(entities) {
    return [...(entities ?? [])].sort((a, b) => String(a.id).localeCompare(String(b.id), 'en', { numeric: true }));
}

module.exports = { SNAPSHOT_RELATIONS, orderSnapshot };
